"""The pool of threads: two callers at once, a forked child, and signals."""

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from intermodal_native.library import FLOAT32, Matrix, library, usable_cores

WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


@pytest.fixture
def native():
    """The library with four threads, whatever the machine has."""
    loaded = library()
    loaded.native_use_threads(4)
    yield loaded
    loaded.native_use_threads(usable_cores())


def product(native, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = np.full((len(x), len(w)), np.nan, np.float32)
    matrix = Matrix(w.ctypes.data, None, *w.shape, FLOAT32)
    native.native_product(x.ctypes.data, len(x), ctypes.byref(matrix), 1, (ctypes.c_void_p * 1)(y.ctypes.data), None)
    return y


def test_each_chunk_is_done_once_however_many_there_are(native):
    for chunks in (0, 1, 2, 3, 7, 100, 1000):
        done = []
        native.native_parallel(WORK(lambda context, chunk, done=done: done.append(chunk)), None, ctypes.c_int64(chunks))
        assert sorted(done) == list(range(chunks))


def test_several_callers_at_once_get_their_own_results(native):
    x, w = np.ones((1, 64), np.float32), np.ones((2000, 64), np.float32)

    def call(number: int) -> bool:
        return all((product(native, number * x, w) == 64 * number).all() for _ in range(200))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(1, 9)))


FORK = """
import os, sys
import numpy as np
from test_native_threads import library, product
native = library(); native.native_use_threads(4)
x, w = np.ones((1, 64), np.float32), np.ones((2000, 64), np.float32)
assert (product(native, x, w) == 64).all()
child = os.fork()
assert (product(native, x, w) == 64).all()
if not child:
    os._exit(0 if len(os.listdir("/proc/self/task")) == 4 else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts the threads in Linux' /proc")
def test_a_forked_child_starts_threads_of_its_own():
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", FORK]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux' /proc")
def test_signals_go_to_python_s_own_threads(native):
    known = {path.name for path in Path("/proc/self/task").iterdir()}
    native.native_use_threads(8)
    product(native, np.ones((1, 64), np.float32), np.ones((2000, 64), np.float32))
    started = [path for path in Path("/proc/self/task").iterdir() if path.name not in known]
    for path in started:
        blocked = next(line for line in (path / "status").read_text().splitlines() if line.startswith("SigBlk"))
        assert int(blocked.split()[1], 16) >> 1 & 1  # bit 1 is SIGINT, Ctrl-C
    assert started
