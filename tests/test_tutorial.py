"""docs/tutorial, to the letter: its commands are run, what they print is compared, its patches are applied.

It happens in an environment of its own, in which intermodal, llama3 and gguf are installed as the page's first command
would. That command alone is not run, for it downloads. What comes out is contrib/qwen2.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial" / "README.md"
GOAL = ROOT / "contrib" / "qwen2"
BEYOND = {"test_qwen2_keras.py": "it tests training, generation and chats, which the kit leaves out"}
INSTALLED = ("core", "plugins/llama3", "plugins/gguf")
OURS = re.compile(r"(__editable__.*|_)?intermodal.*|.*\.pth")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

for name in ("torch", "transformers", "gguf", "accelerate", "hatchling"):
    pytest.importorskip(name, reason="the tutorial installs it")
UV = shutil.which("uv") or pytest.skip("uv installs the packages, and is not on the path", allow_module_level=True)


@pytest.fixture
def environment(tmp_path, request) -> dict[str, str]:
    """A virtual environment with third-party packages of the one that runs this, and of ours only those named above."""
    venv = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    borrowed = tmp_path / "borrowed"
    borrowed.mkdir()
    for folder in (Path(place) for place in sys.path if place.endswith("site-packages")):
        for path in folder.iterdir():
            if not OURS.fullmatch(path.name) and not (borrowed / path.name).exists():
                (borrowed / path.name).symlink_to(path)
    (next(venv.rglob("site-packages")) / "borrowed.pth").write_text(f"{borrowed}\n")
    options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", str(scripts / "python")]
    projects = [argument for name in INSTALLED for argument in ("-e", str(ROOT / name))]
    subprocess.run([UV, "pip", "install", *options, *projects], check=True, cwd=tmp_path)
    cache = request.config.cache.mkdir("intermodal-references")  # shared with contrib/qwen2's own tests
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "INTERMODAL_PLUGINS")}
    return kept | {
        "PATH": os.pathsep.join([str(scripts), os.environ["PATH"]]),
        "KERAS_BACKEND": "jax",
        "PYTEST_ADDOPTS": f"--intermodal-references={cache}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads 0 as: no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def test_the_tutorial_ends_with_contrib_qwen2_and_a_passing_kit(environment, tmp_path):
    where, printed, code, steps = tmp_path / "work", "", 0, 0
    where.mkdir()
    for kind, label, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        assert kind == "text" or code == 0, printed  # a command fails only where the page says so
        if kind == "python":
            (where / label).write_text(text, encoding="utf-8")
        elif kind == "diff":
            done = subprocess.run(["git", "apply", "-"], cwd=where, input=text, capture_output=True, text=True)
            assert done.returncode == 0, f"{done.stderr}\n{text}"
        elif kind == "sh":
            lines = text.splitlines()
            folder = next((line.removeprefix("cd ") for line in lines if line.startswith("cd ")), ".")
            done = subprocess.run(
                "set -e\n" + text, shell=True, cwd=where, env=environment, capture_output=True, text=True, timeout=580
            )
            where, printed, code, steps = where / folder, done.stdout + done.stderr, done.returncode, steps + len(lines)
        else:
            assert bool(code) == (label == "fails"), printed
            for line in text.splitlines():
                assert line in printed, printed
            code = 0
    assert code == 0, printed
    assert steps >= 7
    assert list((where / "dist").glob("intermodal_qwen2-*.whl"))
    for path in sorted(path for path in GOAL.rglob("*") if path.suffix in (".py", ".toml", ".md")):
        if path.name in BEYOND:
            continue
        name = path.relative_to(GOAL)
        assert (where / name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), name
