"""The table of plugins, without importing any, and with --check, each imported in a process of its own."""

import sys

from intermodal import plugin_report
from intermodal.catalog import ALLOW_LIST, CORE, FAMILIES, FORMATS, claims
from intermodal.plugins import manager


def by_distribution(rows: list[dict]) -> dict[str, dict]:
    return {row["distribution"]: row for row in rows}


def test_each_status_is_told_without_importing(site, monkeypatch):
    modules = [
        site.family("intermodal-good", "good", version="1.5"),
        site.family("intermodal-kept-out", "kept"),
        site.family("intermodal-old", "old", requires=("intermodal<0.0.1",)),
        site.family("intermodal-one", "shared"),
        site.family("intermodal-two", "shared"),
        site.install("intermodal-bad", "raise RuntimeError", {FAMILIES: {"bad": ""}}),
    ]
    monkeypatch.setenv(ALLOW_LIST, "-kept-out")
    rows = by_distribution(manager().describe())
    assert rows["intermodal-good"] == {
        "group": "families",
        "key": "good",
        "distribution": "intermodal-good",
        "version": "1.5",
        "requires": ["intermodal>=0.1"],
        "api": None,
        "status": "installed",
        "note": "",
    }
    expected = {
        "kept-out": "blocked",
        "old": "incompatible",
        "one": "conflicting",
        "two": "conflicting",
        "bad": "installed",
    }
    assert {name: rows[f"intermodal-{name}"]["status"] for name in expected} == expected
    assert "intermodal-two" in rows["intermodal-one"]["note"]
    assert not set(modules) & set(sys.modules)
    assert {row["distribution"] for row in manager().describe()} == {claim.dist for claim in claims()}


def test_check_imports_each_elsewhere_and_tells_what_is_broken(site, monkeypatch):
    monkeypatch.setattr(plugin_report, "CHECK_SECONDS", 20.0)
    modules = [
        site.family("intermodal-good", "good"),
        site.install("intermodal-bad", "print('noise')\nimport not_there_at_all", {FAMILIES: {"bad": ""}}),
        site.install("intermodal-quits", "import os\nos._exit(7)", {FAMILIES: {"quits": ""}}),
        site.install("intermodal-liar", "", {FORMATS: {"liar": ""}}),
        site.family("intermodal-newer", "newer", more="api=99"),
        site.install("intermodal-unasked", "import os\nos._exit(7)", {FAMILIES: {"unasked": ""}}),
    ]
    monkeypatch.setenv(ALLOW_LIST, "good,bad,quits,liar,newer")
    rows = by_distribution(manager().describe(check=True))
    assert (rows["intermodal-good"]["status"], rows["intermodal-good"]["api"]) == ("installed", 1)
    broken = {name: row["note"] for name, row in rows.items() if row["status"] == "broken"}
    assert set(broken) == {"intermodal-bad", "intermodal-quits", "intermodal-liar"}
    assert "ModuleNotFoundError: No module named 'not_there_at_all'" in broken["intermodal-bad"]
    assert "Traceback" in broken["intermodal-bad"]
    assert "code 7" in broken["intermodal-quits"]
    assert "gives []" in broken["intermodal-liar"]
    assert rows["intermodal-newer"]["status"] == "incompatible"
    assert "version 99" in rows["intermodal-newer"]["note"]
    assert rows["intermodal-unasked"]["status"] == "blocked"
    assert rows[CORE]["status"] == "installed"
    assert not set(modules) & set(sys.modules)


def test_check_does_not_wait_for_a_plugin_that_hangs(site, monkeypatch):
    site.install("intermodal-slow", "import time\ntime.sleep(600)", {FAMILIES: {"slow": ""}})
    monkeypatch.setenv(ALLOW_LIST, "slow")
    monkeypatch.setattr(plugin_report, "CHECK_SECONDS", 1.0)
    row = by_distribution(manager().describe(check=True))["intermodal-slow"]
    assert (row["status"], row["note"]) == ("broken", "importing it took longer than 1 s")


def test_the_official_plugins_pass_the_check(monkeypatch):
    monkeypatch.delenv(ALLOW_LIST, raising=False)
    rows = by_distribution(manager().describe(check=True))
    assert {rows[name]["status"] for name in ("intermodal-llama3", "intermodal-gguf")} == {"installed"}
