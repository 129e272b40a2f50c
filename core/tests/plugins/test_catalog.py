"""The catalog reads claims from metadata alone, and knows what may be loaded."""

import sys
from importlib import metadata

import pytest
from intermodal import catalog
from intermodal.catalog import ALLOW_LIST, CORE, FAMILIES, FORMATS, GROUPS

EXPLODE = "raise RuntimeError('imported')"


def status_of(dist: str) -> set[str]:
    return {catalog.status(claim) for claim in catalog.claims() if claim.dist == dist}


def test_every_entry_point_becomes_a_claim_and_no_plugin_is_imported(site):
    module = site.install(
        "intermodal-alpha", EXPLODE, {FAMILIES: {"alpha": "", "gguf.alpha": ""}, FORMATS: {"alp": ""}}
    )
    site.install("elsewhere", EXPLODE, {"console_scripts": {"elsewhere": "x:y"}})

    expected = {
        (entry.group, entry.name, entry.value, entry.dist.name, entry.dist.version)
        for group in GROUPS
        for entry in metadata.entry_points(group=group)
    }
    read = {(c.group, c.key, c.value, c.dist, c.version) for c in catalog.claims() if c.dist != CORE}
    assert read == expected
    assert (FAMILIES, "gguf.alpha", module, "intermodal-alpha", "1.0") in read
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("listed", "admitted"),
    [
        (None, {"intermodal-alpha", "beta"}),
        ("", set()),
        (" , ", set()),
        ("alpha", {"intermodal-alpha"}),
        ("intermodal-alpha", {"intermodal-alpha"}),
        ("Intermodal_Alpha, BETA", {"intermodal-alpha", "beta"}),
        ("-alpha", {"beta"}),
        ("-intermodal.alpha,-beta", set()),
        ("alpha,-alpha", set()),
        ("alpha,-beta", {"intermodal-alpha"}),
        ("intermodal", set()),
    ],
)
def test_the_allow_list(site, monkeypatch, listed, admitted):
    site.family("intermodal-alpha", "alpha")
    site.family("beta", "beta")
    if listed is not None:
        monkeypatch.setenv(ALLOW_LIST, listed)
    assert {dist for dist in ("intermodal-alpha", "beta") if status_of(dist) == {"installed"}} == admitted
    assert {dist for dist in ("intermodal-alpha", "beta") if status_of(dist) == {"blocked"}} == {
        "intermodal-alpha",
        "beta",
    } - admitted
    assert "blocked" not in status_of(CORE)


def test_a_slip_of_the_pen_in_the_allow_list_is_named(site, monkeypatch):
    site.family("intermodal-alpha", "alpha")
    monkeypatch.setenv(ALLOW_LIST, "alpah,-alpha,-zeta")
    assert catalog.unknown_in_allow_list() == ["alpah", "zeta"]


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ("intermodal>=0.1,<9", "installed"),
        ("Intermodal (>=0.1)", "installed"),
        ("intermodal", "installed"),
        ("intermodal>=9", "incompatible"),
        ("intermodal[jax] <0.0.1", "incompatible"),
        ("intermodal>=9; python_version < '3'", "installed"),
        ("intermodal>=9; extra == 'test'", "installed"),
        ("intermodal >>> 1", "incompatible"),
        ("intermodal-tools>=9", "installed"),
        ("intermodal.tools>=9", "installed"),
    ],
)
def test_a_plugin_for_another_version_is_incompatible(site, requires, expected):
    site.family("intermodal-alpha", "alpha", requires=("numpy>=1", requires))
    assert status_of("intermodal-alpha") == {expected}


def test_two_distributions_with_one_key_conflict_on_that_key_only(site, monkeypatch):
    site.family("intermodal-alpha", "shared", "alpha")
    site.family("intermodal-beta", "shared", "beta")
    conflicting = {(c.dist, c.key) for c in catalog.claims() if catalog.status(c) == "conflicting"}
    assert conflicting == {("intermodal-alpha", "shared"), ("intermodal-beta", "shared")}

    monkeypatch.setenv(ALLOW_LIST, "-beta")
    assert status_of("intermodal-alpha") == {"installed"}


def test_one_distribution_twice_on_the_path_is_no_conflict(site, tmp_path, monkeypatch):
    older = type(site)(tmp_path / "older")
    older.family("Intermodal_Alpha", "alpha", "dropped", version="0.9")
    sys.path.append(str(older.folder))
    try:
        site.family("intermodal-alpha", "alpha", version="1.1")
        assert [str(claim) for claim in catalog.find(FAMILIES, "alpha")] == ["intermodal-alpha 1.1"]
        assert catalog.find(FAMILIES, "dropped") == []
        assert status_of("intermodal-alpha") == {"installed"}
    finally:
        sys.path.remove(str(older.folder))


def test_an_older_copy_behind_one_without_claims_stays_hidden(site, tmp_path):
    older = type(site)(tmp_path / "older")
    older.family("intermodal-alpha", "alpha", version="0.9")
    sys.path.append(str(older.folder))
    try:
        site.install("intermodal-alpha", "", {"console_scripts": {"alpha": "x:y"}}, version="1.1")
        assert catalog.find(FAMILIES, "alpha") == []
    finally:
        sys.path.remove(str(older.folder))


@pytest.mark.parametrize("damage", ["no METADATA", "no version", "entry points"])
def test_damaged_metadata_hurts_no_other_plugin(site, damage):
    site.family("intermodal-alpha", "alpha")
    site.family("intermodal-beta", "beta")
    info = site.folder / "intermodal_beta-1.0.dist-info"
    if damage == "no METADATA":
        (info / "METADATA").unlink()
    elif damage == "no version":
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: intermodal-beta\n")
    else:
        (info / "entry_points.txt").write_text("[intermodal.families]\nbeta\n")
    catalog.refresh()
    with pytest.warns(UserWarning, match="damaged metadata"):
        assert status_of("intermodal-alpha") == {"installed"}
    assert status_of("intermodal-beta") == set()


def test_claims_are_read_once_until_refresh(site):
    site.family("intermodal-alpha", "alpha")
    before = catalog.claims()
    assert catalog.claims() is before
    (site.folder / "intermodal_alpha-1.0.dist-info" / "entry_points.txt").write_text("")
    assert catalog.find(FAMILIES, "alpha")
    catalog.refresh()
    assert not catalog.find(FAMILIES, "alpha")


def test_a_hundred_plugins_are_listed_sorted(site):
    for number in range(100):
        site.family(f"intermodal-p{number}", f"type{number}")
    keys = [claim.key for claim in catalog.claims() if claim.dist.startswith("intermodal-p")]
    assert len(keys) == 100
    assert keys == sorted(keys)
