"""Buffers that variables live in."""

import subprocess
import sys

import numpy as np
import pytest
from intermodal.weights.memory import ALIGNMENT, aligned_empty


@pytest.mark.parametrize("shape", [(), (0, 4), (3,), (257, 1023), (1 << 10, 1 << 10)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_aligned_arrays_are_whole_writable_and_apart(shape, dtype):
    arrays = [aligned_empty(shape, dtype) for _ in range(3)]
    for number, array in enumerate(arrays):
        assert array.shape == shape
        assert array.dtype.name == dtype
        assert array.ctypes.data % ALIGNMENT == 0 or array.size == 0
        array[...] = number
    for number, array in enumerate(arrays):
        assert (np.asarray(array, np.float32) == number).all()


MEASURE = """
import pathlib
from intermodal.weights.memory import aligned_empty

def resident():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

before = resident()
arrays = [aligned_empty((768, 1024), "float32") for _ in range(32)]  # 3 MB each
for array in arrays:
    array[...] = 1
print(resident() - before)
del arrays[::2], array
print(resident() - before, sum(int(array.sum()) for array in arrays))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_each_array_takes_its_size_and_goes_back_to_the_system_alone():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    taken, kept, total = map(int, done.stdout.split())
    nbytes = 32 * 768 * 1024 * 4
    assert nbytes <= taken < 1.05 * nbytes
    assert kept < 0.55 * nbytes
    assert total == 16 * 768 * 1024
