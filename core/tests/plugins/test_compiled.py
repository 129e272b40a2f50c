"""Kernels that a plugin brings: found by their entry point, and done without where they cannot be used."""

import warnings

import pytest
from intermodal import compiled
from intermodal.catalog import KERNELS

CODE = """
from intermodal.hookspecs import hookimpl

class Kernels:
    device = "cpu"
    def module(self, user):
        {body}

@hookimpl
def intermodal_kernels():
    return [Kernels()]
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch, site):
    """Only what the test installs, and nothing remembered."""
    monkeypatch.setenv("INTERMODAL_PLUGINS", "fast")
    compiled.for_cpu.cache_clear()
    yield
    compiled.for_cpu.cache_clear()


def test_without_a_plugin_there_are_none_and_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled.for_cpu("jax") is None


def test_a_plugin_s_module_is_given_to_its_user(site):
    site.install("intermodal-fast", CODE.format(body="return user"), {KERNELS: {"cpu": ""}})
    assert compiled.for_cpu("jax") == "jax"


@pytest.mark.parametrize("body", ["raise OSError('no such instruction')", "raise ImportError('no such instruction')"])
def test_kernels_that_do_not_load_give_one_warning(site, body):
    site.install("intermodal-fast", CODE.format(body=body), {KERNELS: {"cpu": ""}})
    with pytest.warns(RuntimeWarning, match=r"cannot be used.*no such instruction") as seen:
        assert [compiled.for_cpu("jax") for _ in range(2)] == [None, None]
    assert len(seen) == 1


def test_a_plugin_that_does_not_import_gives_a_warning_with_its_name(site):
    site.install("intermodal-fast", "import no_such_module", {KERNELS: {"cpu": ""}})
    with pytest.warns(RuntimeWarning, match=r"intermodal-fast.*no_such_module"):
        assert compiled.for_cpu("jax") is None
