"""The backend is settled before Keras is imported, in a process where nothing has been imported yet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import intermodal
import pytest
from intermodal.backend import BACKENDS

CHOOSE = """
import sys
from intermodal.backend import choose
from intermodal.errors import BackendError
try:
    chosen = choose(*sys.argv[1:])
    import os
    assert os.environ["KERAS_BACKEND"] == chosen
    print(chosen)
except BackendError as error:
    print("BackendError:", error)
assert not {"keras", "numpy", *("jax", "torch", "tensorflow")} & set(sys.modules)
"""


@pytest.fixture
def choose(tmp_path):
    """Calls `choose` in an interpreter that has intermodal and the named backends, and nothing else."""
    (tmp_path / "keras_home").mkdir()

    def call(*arguments: str, installed=BACKENDS, variable: str | None = None, config: object = None) -> str:
        site = tmp_path / "site"
        for name in installed:
            (site / name).mkdir(parents=True, exist_ok=True)
            (site / name / "__init__.py").write_text("raise AssertionError('imported')")
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (tmp_path / "keras_home" / "keras.json").write_text(text)
        environment = {
            "PYTHONPATH": os.pathsep.join([str(Path(intermodal.__file__).parents[1]), str(site)]),
            "KERAS_HOME": str(tmp_path / "keras_home"),
            **({} if variable is None else {"KERAS_BACKEND": variable}),
        }
        # -S: the packages of the environment that runs the tests stay out of sight
        command = [sys.executable, "-S", "-c", CHOOSE, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    return call


def test_an_argument_comes_first(choose):
    assert choose("torch", variable="jax", config={"backend": "tensorflow"}) == "torch"


def test_then_the_variable(choose):
    assert choose(variable="tensorflow", config={"backend": "torch"}) == "tensorflow"


def test_then_the_config_file_of_keras(choose):
    assert choose(config={"backend": "torch"}) == "torch"


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [(BACKENDS, "jax"), (("torch", "tensorflow"), "torch"), (("tensorflow",), "tensorflow")],
)
def test_then_the_first_that_is_installed(choose, installed, chosen):
    assert choose(installed=installed, variable="") == chosen


@pytest.mark.parametrize("config", ["{broken", "[1]", '"torch"', "{}", "{}" + " " * (1 << 20) + "x"])
def test_a_config_file_that_says_nothing_is_passed_over(choose, config):
    assert choose(config=config) == "jax"


def test_none_installed_names_the_three_extras(choose):
    message = choose(installed=())
    assert all(f'pip install "intermodal[{name}]"' in message for name in BACKENDS)


@pytest.mark.parametrize("where", ["argument", "variable", "config"])
def test_chosen_but_not_installed_names_its_extra_and_who_chose(choose, where):
    message = {
        "argument": lambda: choose("torch", installed=("jax",)),
        "variable": lambda: choose(installed=("jax",), variable="torch"),
        "config": lambda: choose(installed=("jax",), config={"backend": "torch"}),
    }[where]()
    assert 'pip install "intermodal[torch]"' in message
    assert {"argument": "backend=", "variable": "KERAS_BACKEND", "config": "keras.json"}[where] in message


@pytest.mark.parametrize("name", ["openvino", "numpy", "Torch", "mxnet"])
def test_another_backend_is_refused_by_name(choose, name):
    for message in (choose(name), choose(variable=name), choose(config={"backend": name})):
        assert message.startswith("BackendError")
        assert repr(name) in message
        assert "jax, torch, tensorflow" in message


KERAS_WRITES_ITS_FILE = """
import os, sys
home = os.environ["KERAS_HOME"]
import keras
assert keras.config.backend() == "jax" and os.path.exists(home + "/keras.json")
from intermodal.backend import choose
from intermodal.errors import BackendError
assert choose() == choose("jax") == "jax"
for wish in (lambda: choose("torch"), lambda: (os.environ.update(KERAS_BACKEND="torch"), choose())):
    try:
        wish()
    except BackendError as error:
        assert "already imported and runs on jax" in str(error) and "'torch'" in str(error), error
    else:
        raise SystemExit("not refused")
for name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:
    del sys.modules[name]
del os.environ["KERAS_BACKEND"]
assert choose() == "jax", "the file that Keras wrote by itself was taken for a choice"
"""


def test_a_running_keras_and_the_file_that_it_writes_itself(tmp_path):
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", KERAS_WRITES_ITS_FILE], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
