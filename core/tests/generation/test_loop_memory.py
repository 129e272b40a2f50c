"""What the compiled loop needs beside weights and cache, and how long one call of it lasts."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from intermodal.generation import run
from intermodal.generation.batch import RUN
from intermodal.generation.run import Pace
from intermodal.generation.sampling import Mode, controls
from intermodal.generation.state import State


@pytest.mark.backend
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="asks XLA through JAX")
def test_the_loop_holds_no_wide_copy_of_narrow_weights():
    import jax.numpy as jnp
    from intermodal.generation.loop_jax import Loop

    width, layers, vocabulary = 256, 8, 320

    class Chain:
        def logits(self, w, step, last_only):
            x = w["table"][step.token_ids[:, 0]].astype("float32")
            for matrix in w["layers"]:
                x = jnp.tanh(x @ matrix.astype("float32").T)
            return (x @ w["table"].astype("float32").T)[:, None]

    w = {
        "table": jnp.ones((vocabulary, width), "bfloat16"),
        "layers": [jnp.ones((width, width), "bfloat16") for _ in range(layers)],
    }
    cache = [(jnp.zeros((1, 1, 256, 8)), jnp.zeros((1, 1, 256, 8)))]
    ones = jnp.ones(1, "int32")
    state = State(cache, 0 * ones, ones, ones, jnp.zeros(1, bool), 9 * ones, None, 0, 0)
    state = state._replace(offset=np.int32(1), count=np.int32(1))
    uniforms = np.zeros((1, RUN), np.float32)
    loop = Loop(Chain())
    compiled = loop._run.lower(w, state, uniforms, np.int32(5), controls(), Mode(vocabulary)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * width * width


def test_calls_last_about_as_long_as_they_should(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(run.time, "perf_counter", lambda: clock.now)
    pace, taken = Pace(0.5), []

    def call(seconds, each):
        with pace as steps:
            clock.now += seconds + each * steps
        taken.append(steps)

    call(20.0, 0.0)  # compiles
    for _ in range(8):
        call(0.0, 0.02)
    assert taken[-1] in (24, 25)
    assert all(after <= 2 * before for before, after in itertools.pairwise(taken))
    call(0.0, 2.0)
    call(0.0, 2.0)
    assert taken[-1] == 1
    for _ in range(12):
        call(0.0, 1e-5)
    assert taken[-1] == RUN
