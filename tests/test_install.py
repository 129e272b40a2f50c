"""The built wheels work outside the repository: installed into an environment of their own, next to nothing else."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAN_COMPILE = "CC" in os.environ or any(map(shutil.which, ("cc", "gcc", "clang"))) or find_spec("ziglang") is not None
PLUGINS = sorted(
    path.parent
    for kind in ("plugins", "contrib")
    for path in ROOT.glob(f"{kind}/*/pyproject.toml")
    if CAN_COMPILE or not path.with_name("hatch_build.py").exists()
)
PROJECTS = [ROOT / "core", *PLUGINS]

pytest.importorskip("hatchling", reason="builds the wheels; it is in the dev group")
UV = shutil.which("uv") or pytest.skip("uv installs the wheels, and is not on the path", allow_module_level=True)


def run(*command: str | Path, cwd: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "INTERMODAL_PLUGINS")
    }
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """The wheel of each project, by its folder's name."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / project.name, cwd=project)
    return {project.name: next((folder / project.name).glob("*.whl")) for project in PROJECTS}


@pytest.fixture(scope="module")
def environment(tmp_path_factory, wheels) -> Path:
    """A virtual environment with the wheels, which borrows only third-party packages from the one that runs this."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    site = Path(
        run(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    # A path in a .pth file is added without the .pth files in it, so the editable installs there are not importable.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    python = scripts / "python"
    run(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, *wheels.values(), cwd=folder)
    return scripts


def test_the_command_lists_every_plugin_from_the_wheels(environment, wheels, tmp_path):
    where = run(environment / "python", "-c", "import intermodal; print(intermodal.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment.parent)
    rows = json.loads(run(environment / "intermodal", "plugins", "--json", "--check", cwd=tmp_path))
    assert {row["status"] for row in rows} == {"installed"}
    wanted = {f"intermodal-{name}" for name in wheels if name != "core"}
    assert wanted <= {row["distribution"] for row in rows}


def test_the_table_of_suggestions_is_in_the_wheel(environment, tmp_path):
    code = (
        "from intermodal.errors import MissingPluginError\n"
        "from intermodal.plugins import manager\n"
        "try:\n    manager().family('not-a-model-type')\n"
        "except MissingPluginError as error:\n    print(error)\n"
        "from intermodal.suggestions import known\n"
        "print(known('intermodal.families')['gemma3_text'])"
    )
    assert run(environment / "python", "-c", code, cwd=tmp_path).endswith("intermodal-gemma3\n")


@pytest.mark.parametrize("name", [project.name for project in PROJECTS])
def test_a_wheel_holds_its_package_and_nothing_else(wheels, name):
    with zipfile.ZipFile(wheels[name]) as wheel:
        members = wheel.namelist()
        headers = HeaderParser().parsestr(wheel.read(next(m for m in members if m.endswith("/METADATA"))).decode())
    package = "intermodal" if name == "core" else f"intermodal_{name}"
    assert {member.partition("/")[0] for member in members} == {package, f"{package}-{headers['Version']}.dist-info"}
    assert not [member for member in members if "/tests/" in member or "__pycache__" in member]
    if name != "core":
        required = [line for line in headers.get_all("Requires-Dist", []) if "extra ==" not in line]
        (core,) = [line for line in required if line.startswith("intermodal")]
        assert "<" in core
        assert ">=" in core
