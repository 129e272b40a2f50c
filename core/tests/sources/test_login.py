import pytest
from intermodal.errors import SourceError
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from intermodal.sources.login import login
from intermodal.testing.hub import TOKEN


def test_login_saves_a_token_that_later_loads_send(hub):
    hub.add_repo("org/private", {"config.json": b"{}"}, private=True)
    with pytest.raises(SourceError, match="private"):
        open_repository("hf://org/private", Access())
    login(TOKEN)
    assert (hub.home / "token").read_text() == TOKEN
    assert open_repository("hf://org/private", Access()).read_small("config.json", 10) == b"{}"
    with pytest.raises(SourceError, match="private"):
        open_repository("hf://org/private", Access(token=False))


def test_login_with_a_wrong_token(hub):
    with pytest.raises(SourceError, match=r"Logging in failed.*settings/tokens"):
        login("hf_wrong")
    assert not (hub.home / "token").exists()


def test_saved_token_demanded_but_absent(hub):
    with pytest.raises(SourceError, match=r"no token is saved.*intermodal\.login"):
        open_repository("hf://org/name", Access(token=True))
