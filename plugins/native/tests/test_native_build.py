"""The build: with this machine's compiler, with none, and for other processors."""

import importlib.util
import platform
import shutil
from pathlib import Path

import pytest
from intermodal_native import library
from intermodal_native.library import PATH

bridge = pytest.importorskip("hatchling.bridge.app", reason="hatchling builds; it is in the dev group")
PROJECT = Path(__file__).parents[1]


@pytest.fixture
def build():
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_compiler(build, monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if build.compiler():
        pytest.skip("ziglang is installed, which needs no path")


def hook(build, root: Path):
    return build.CompileHook(str(root), {}, None, None, str(root / "dist"), "wheel", bridge.Application())


def test_the_library_was_compiled():
    if not PATH.exists():
        pytest.skip("intermodal-native was installed where there was no C compiler")
    assert PATH.stat().st_size


def test_a_library_of_other_sources_is_refused(tmp_path, monkeypatch):
    if not PATH.exists():
        pytest.skip("intermodal-native was installed where there was no C compiler")
    library._check_sources(library.library())
    shutil.copytree(Path(library.__file__).parent / "c", tmp_path / "c")
    with (tmp_path / "c" / "native.h").open("a") as header:
        header.write("/* changed */")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    with pytest.raises(OSError, match="compiled from other C files"):
        library._check_sources(library.library())


def test_a_compiler_is_asked_for_where_there_is_none(build, no_compiler):
    assert hook(build, PROJECT).dependencies() == ["ziglang>=0.13"]


def test_without_a_compiler_an_editable_installation_goes_through_and_a_wheel_does_not(
    build, no_compiler, tmp_path, capsys
):
    root = tmp_path / "project"
    shutil.copytree(PROJECT / "src", root / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    hook(build, root).initialize("editable", {"force_include": {}})
    assert "no C compiler" in capsys.readouterr().err
    assert not list(root.rglob("*.so"))
    with pytest.raises(OSError, match="install gcc or clang"):
        hook(build, root).initialize("standard", {"force_include": {}})


def test_each_set_of_instructions_is_compiled_where_there_are_several(build):
    for machine, per_path in (("x86_64", 3), ("aarch64", 1)):
        commands = build.commands(["cc"], PROJECT / build.PACKAGE / "c", Path("objects"), machine)
        compiled = [command[-1] for command in commands[:-1]]
        paths = [name for name in compiled if "_path-" in name]
        assert len(paths) == per_path * len({name.rpartition("-")[0] for name in paths})
        assert set(compiled) <= set(commands[-1])


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flags of x86-64")
def test_what_runs_everywhere_is_compiled_for_every_processor(build):
    commands = build.commands(["cc"], PROJECT / build.PACKAGE / "c", Path("objects"), "x86_64")
    assert not [command for command in commands if "-march=native" in command]
    assert not [command for command in commands if "-baseline.o" in command[-1] and any("avx" in x for x in command)]
