"""One plugin is loaded when it is asked for, and whatever is wrong with another one stays with that one."""

import sys
from types import SimpleNamespace

import pytest
from intermodal import catalog, families
from intermodal.catalog import ALLOW_LIST, COMMANDS, FAMILIES, FORMATS, SOURCES
from intermodal.errors import (
    AmbiguousPluginError,
    BlockedPluginError,
    BrokenPluginError,
    IncompatiblePluginError,
    MissingPluginError,
)
from intermodal.plugins import manager

OBJECTS = """
from types import SimpleNamespace
from intermodal.hookspecs import hookimpl

@hookimpl
def intermodal_checkpoint_readers():
    return [SimpleNamespace(format="other"), SimpleNamespace(format="alp")]

@hookimpl
def intermodal_sources():
    return [SimpleNamespace(scheme="alpha")]

@hookimpl
def intermodal_commands():
    return [SimpleNamespace(name="alpha", module="some.module")]
"""


def test_only_the_plugin_that_is_asked_for_is_imported(site):
    alpha = site.family("intermodal-alpha", "alpha", "alpha_text", keys=("alpha", "alpha_text"))
    beta = site.family("intermodal-beta", "beta")
    first, second = manager().family("alpha"), manager().family("alpha_text")
    assert first.family is second.family
    assert (first.family.name, first.plugin.name, first.plugin.version) == ("alpha", "intermodal-alpha", "1.0")
    assert alpha in sys.modules
    assert beta not in sys.modules


def test_a_dialect_key_finds_the_family_that_speaks_it(site):
    keys = ("alpha", "gguf.alpha")
    site.family("intermodal-alpha", "alpha", keys=keys, more='dialects={"gguf": "x:config"}')
    assert manager().family("gguf.alpha").family.name == "alpha"


def test_one_distribution_gives_readers_sources_and_commands(site):
    site.install("intermodal-alpha", OBJECTS, {FORMATS: {"alp": ""}, SOURCES: {"alpha": ""}, COMMANDS: {"alpha": ""}})
    assert manager().reader("alp").format == "alp"
    assert manager().source("alpha").scheme == "alpha"
    assert manager().command("alpha").module == "some.module"
    assert manager().commands()["alpha"].dist == "intermodal-alpha"


# --- failures, each with its own message -----------------------------------------------------------------------------


def test_a_checkpoint_without_a_model_type_asks_for_one(site):
    site.family("intermodal-alpha", "alpha")
    with pytest.raises(MissingPluginError, match="does not say its model type"):
        manager().family("")
    assert manager().family("", override="alpha").family.name == "alpha"


def test_a_missing_plugin_is_suggested_by_name(monkeypatch):
    others = [claim for claim in catalog.claims() if claim.dist != "intermodal-gemma3"]
    monkeypatch.setattr(catalog, "claims", lambda: others)
    with pytest.raises(MissingPluginError, match=r"'gemma3_text'.*pip install intermodal-gemma3$"):
        manager().family("gemma3_text")


def test_an_unknown_key_names_the_nearest_ones(site):
    site.family("intermodal-alpha", "alphabet")
    with pytest.raises(MissingPluginError, match=r"model type 'alphabat'.*'alphabet' \(intermodal-alpha\)") as caught:
        manager().family("alphabat")
    assert "pip install" not in str(caught.value)
    with pytest.raises(MissingPluginError, match=r"checkpoint format 'xyz'.*'safetensors'"):
        manager().reader("xyz")


def test_a_blocked_plugin_is_not_imported(site, monkeypatch):
    module = site.family("intermodal-alpha", "alpha")
    monkeypatch.setenv(ALLOW_LIST, "alpah")
    with pytest.raises(BlockedPluginError, match=r"intermodal-alpha 1\.0.*INTERMODAL_PLUGINS.*alpah, which no"):
        manager().family("alpha")
    assert module not in sys.modules


def test_an_incompatible_plugin_is_not_imported(site):
    module = site.family("intermodal-alpha", "alpha", requires=("intermodal>=9",))
    with pytest.raises(IncompatiblePluginError, match=r"written for intermodal>=9, and intermodal \d.*is running"):
        manager().family("alpha")
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("code", "cause", "message"),
    [
        ("import not_there_at_all", ModuleNotFoundError, "No module named 'not_there_at_all'"),
        ("this is no python", SyntaxError, "invalid syntax"),
        ("raise SystemExit(3)", SystemExit, "SystemExit: 3"),
        (
            "from intermodal.hookspecs import hookimpl\n@hookimpl\ndef intermodal_famlies():\n    return []",
            Exception,
            "registering its hooks.*intermodal_famlies",
        ),
        (
            "from intermodal.hookspecs import hookimpl\n@hookimpl\ndef intermodal_families(extra):\n    return []",
            Exception,
            "registering its hooks.*extra",
        ),
        (
            "from intermodal.hookspecs import hookimpl\n@hookimpl\ndef intermodal_families():\n    return 1 / 0",
            ZeroDivisionError,
            "declaring its families",
        ),
        (
            "from intermodal.hookspecs import hookimpl\n@hookimpl\ndef intermodal_families():\n    return ['alpha']",
            type(None),
            "'alpha', not a Family",
        ),
        ("", type(None), "name \\['alpha'\\], and its families name \\[\\]"),
    ],
)
def test_a_broken_plugin_says_why_and_hurts_no_other(site, code, cause, message):
    site.install("intermodal-alpha", code, {FAMILIES: {"alpha": ""}})
    site.family("intermodal-beta", "beta")
    for _ in range(2):  # the failure is remembered, and the same
        with pytest.raises(BrokenPluginError, match=rf"(?s)plugin intermodal-alpha 1\.0.*{message}") as caught:
            manager().family("alpha")
        assert "pip uninstall intermodal-alpha" in str(caught.value)
        assert isinstance(caught.value.__cause__, cause)
        if caught.value.__cause__ is not None:
            assert caught.value.__cause__.__traceback__ is not None
    assert manager().family("beta").family.name == "beta"


def test_entry_points_and_declared_model_types_have_to_agree(site):
    site.family("intermodal-alpha", "alpha", "more")
    site.family("intermodal-beta", "beta", "unclaimed", keys=("beta",))
    site.family("intermodal-gamma", "gamma", keys=("gamma", "undeclared"))
    assert manager().family("more").family.name == "alpha"
    for key, other in (("beta", "unclaimed"), ("gamma", "undeclared")):
        with pytest.raises(BrokenPluginError, match=other):
            manager().family(key)


def test_a_claim_that_the_hook_does_not_keep_is_broken(site):
    site.install("intermodal-alpha", OBJECTS, {FORMATS: {"zip": ""}})
    with pytest.raises(BrokenPluginError, match=r"checkpoint format 'zip'.*\['alp', 'other'\]"):
        manager().reader("zip")


def test_entry_points_of_one_distribution_name_one_module(site):
    site.install("intermodal-alpha", OBJECTS, {FORMATS: {"alp": ""}, SOURCES: {"alpha": "another_module"}})
    with pytest.raises(BrokenPluginError, match="several modules"):
        manager().reader("alp")


@pytest.mark.parametrize(("api", "outcome"), [(4, "refused"), (3, "used"), (2, "warned"), (1, "refused")])
def test_this_api_version_and_the_one_before_are_honoured(site, monkeypatch, api, outcome):
    monkeypatch.setattr("intermodal.registry.API_VERSION", 3)
    site.family("intermodal-alpha", "alpha", more=f"api={api}")
    if outcome == "refused":
        upgrade = "intermodal-alpha" if api == 1 else "intermodal"
        with pytest.raises(IncompatiblePluginError, match=rf"version {api} .*version 3.*--upgrade {upgrade}$"):
            manager().family("alpha")
    elif outcome == "warned":
        with pytest.warns(DeprecationWarning, match=r"intermodal-alpha 1\.0 uses version 2"):
            manager().family("alpha")
    else:
        manager().family("alpha")


def test_declaring_no_api_means_the_current_one(site):
    site.family("intermodal-alpha", "alpha")
    assert manager().family("alpha").family.api == families.API_VERSION


# --- two claimants, and the user's own choice ------------------------------------------------------------------------


def test_two_claimants_are_never_chosen_between_in_silence(site, monkeypatch):
    site.family("intermodal-alpha", "shared", "alpha")
    site.family("intermodal-beta", "shared", "beta", version="2.0")
    with pytest.raises(
        AmbiguousPluginError, match=r"'shared'.*intermodal-alpha 1\.0 and intermodal-beta 2\.0"
    ) as caught:
        manager().family("shared")
    for way in ('family="intermodal-alpha"', "INTERMODAL_PLUGINS=-intermodal-beta", "pip uninstall intermodal-beta"):
        assert way in str(caught.value)

    assert manager().family("alpha").plugin.name == "intermodal-alpha"
    assert manager().family("shared", override="intermodal-beta").plugin.name == "intermodal-beta"
    monkeypatch.setenv(ALLOW_LIST, "-intermodal-beta")
    assert manager().family("shared").plugin.name == "intermodal-alpha"


def test_an_override_is_a_distribution_a_model_type_or_a_family(site):
    site.family("intermodal-alpha7", "alpha", "alpha_text", keys=("alpha", "alpha_text"))
    site.family("intermodal-beta", "beta_x", more='dialects={"gguf": "x:y"}')
    code = (site.folder / "intermodal_beta.py").read_text().replace("name='beta_x'", "name='betamax'")
    (site.folder / "intermodal_beta.py").write_text(code)
    for override in ("intermodal-alpha7", "Intermodal_Alpha7", "alpha7", "alpha", "alpha_text"):
        assert manager().family("beta_x", override=override).family.name == "alpha"
    for override in ("intermodal-beta", "beta", "beta_x", "betamax"):
        assert manager().family("gguf.unclaimed", override=override).family.name == "betamax"
    with pytest.raises(MissingPluginError, match="gamma"):
        manager().family("alpha", override="gamma")


def test_an_override_that_means_two_plugins_is_ambiguous(site):
    site.family("intermodal-alpha", "alpha")
    site.family("other", "alpha", "other")
    with pytest.raises(AmbiguousPluginError, match=r"intermodal-alpha 1\.0 and other 1\.0"):
        manager().family("alpha", override="alpha")
    assert manager().family("alpha", override="other").plugin.name == "other"


def test_an_override_that_is_blocked_says_so(site, monkeypatch):
    site.family("intermodal-alpha", "alpha")
    monkeypatch.setenv(ALLOW_LIST, "")
    for override in ("alpha", "intermodal-alpha"):
        with pytest.raises(BlockedPluginError, match="intermodal-alpha"):
            manager().family("beta", override=override)


def test_a_family_refuses_what_only_looks_near(site):
    site.family("intermodal-alpha", "alpha", more='refused={"alpha4": "it has experts"}')
    site.install("intermodal-beta", "raise RuntimeError", {FAMILIES: {"beta": ""}})
    message = r"alpha of intermodal-alpha 1\.0 refuses 'alpha4': it has experts"
    with pytest.raises(MissingPluginError, match=message):
        manager().family("alpha4")
    with pytest.raises(MissingPluginError, match=message):
        manager().family("alpha4", override="alpha")


def test_several_families_of_one_plugin_are_told_apart(site):
    two = """
    from intermodal.families import Family
    from intermodal.hookspecs import hookimpl

    def family(name):
        return Family(name=name, model_types=(name,), config="x:C", backbone="x:B", weight_map="x:w", architectures={},
                      dialects={"gguf": "x:y"})

    @hookimpl
    def intermodal_families():
        return [family("alpha"), family("alpha_text")]
    """
    site.install("intermodal-two", two, {FAMILIES: {"alpha": "", "alpha_text": "", "gguf.alpha": ""}})
    assert manager().family("alpha_text").family.name == "alpha_text"
    with pytest.raises(AmbiguousPluginError, match=r"alpha, alpha_text.*family='alpha'"):
        manager().family("gguf.alpha")
    assert manager().family("gguf.alpha", override="alpha_text").family.name == "alpha_text"


# --- asking ----------------------------------------------------------------------------------------------------------

BUILDER = """
@hookimpl
def intermodal_build_model(family, config, task):
    return None if task == "plain" else (family.name, config, task)

@hookimpl
def intermodal_weight_map(family):
    return "the map of " + family.name

@hookimpl
def intermodal_model_loaded(model, report):
    model.told.append("{name}")
"""

SUPPLIED = {"weight_map": "a map", "weights": "a supply", "dtype": "a policy"}


def with_builder(site, name: str) -> None:
    module = site.family(f"intermodal-{name}", name)
    path = site.folder / f"{module}.py"
    path.write_text(path.read_text() + BUILDER.replace("{name}", name))


def test_the_owner_of_the_claim_is_asked_and_no_other(site):
    with_builder(site, "alpha")
    with_builder(site, "beta")
    alpha, beta = manager().family("alpha"), manager().family("beta")
    built = manager().build_model(beta, config=1, task="odd", **SUPPLIED)
    assert built == ("beta", 1, "odd")
    assert manager().weight_map(alpha, 1, "odd") == "the map of alpha"


def test_core_answers_where_the_plugin_leaves_it(site, monkeypatch):
    with_builder(site, "alpha")
    site.family("intermodal-plain", "plain", more="")
    (site.folder / "x.py").write_text("def w(config, task):\n    return ('core called', config, task)\n")
    site.modules.add("x")
    monkeypatch.setitem(sys.modules, "intermodal.tasks", SimpleNamespace(build=lambda *arguments: arguments))

    alpha, plain = manager().family("alpha"), manager().family("plain")
    assert manager().weight_map(plain, 5, "t") == ("core called", 5, "t")
    built = manager().build_model(alpha, config=1, task="plain", **SUPPLIED)
    assert built == (alpha.family, 1, "plain", *SUPPLIED.values())


def test_an_error_while_building_is_the_plugins_own(site):
    site.family("intermodal-alpha", "alpha")
    (site.folder / "x.py").write_text("def w(config, task):\n    return config['absent']\n")
    site.modules.add("x")
    with pytest.raises(KeyError):
        manager().weight_map(manager().family("alpha"), {}, "t")


def test_every_loaded_plugin_hears_of_a_model_even_after_one_raised(site):
    for name in ("alpha", "beta"):
        with_builder(site, name)
    path = site.folder / "intermodal_alpha.py"
    path.write_text(path.read_text().replace('model.told.append("alpha")', "raise RuntimeError('no thanks')"))
    model = SimpleNamespace(told=[])
    for name in ("alpha", "beta"):
        manager().family(name)
    with pytest.warns(RuntimeWarning, match=r"intermodal-alpha failed.*no thanks"):
        manager().notify_loaded(model, None)
    assert model.told == ["beta"]
