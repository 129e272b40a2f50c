"""KerasHub's samplers as settings: those that mean the same are taken, the others refused."""

import pytest
from intermodal.errors import GenerationError
from intermodal.generation.samplers import read_sampler


@pytest.mark.parametrize(
    ("identifier", "settings"),
    [
        ("greedy", {"do_sample": False}),
        ("random", {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": None}),
        ("top_k", {"do_sample": True, "temperature": 1.0, "top_k": 5, "top_p": 1.0, "seed": None}),
        ("top_p", {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 0.1, "seed": None}),
        (
            {"class_name": "keras_hub>TopKSampler", "config": {"k": 10, "temperature": 0.7, "seed": 4}},
            {"do_sample": True, "temperature": 0.7, "top_k": 10, "top_p": 1.0, "seed": 4},
        ),
        ({"class_name": "top_p", "config": {"p": 0.9}}, {"top_p": 0.9, "top_k": 0}),
    ],
)
def test_means_what_keras_hub_means(identifier, settings):
    sampler = read_sampler(identifier)
    assert settings.items() <= sampler.settings().items()
    assert read_sampler(sampler.get_config()) == sampler


def test_takes_an_object_by_its_config():
    # keras_hub's classes are known by their module and their name, so that it need not be imported.
    made = type("TopKSampler", (), {"__module__": "keras_hub.src.samplers.top_k_sampler"})()
    made.get_config = lambda: {"k": 3, "seed": None, "temperature": 2.0}
    assert read_sampler(made).settings()["top_k"] == 3


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("beam", "'beam' is not implemented: expected one of greedy, random, top_k, top_p"),
        ({"class_name": "top_k", "config": {"p": 0.5}}, "takes temperature, seed, k; not p"),
        ({"class_name": "top_p", "config": {"k": 40}}, "Leave k out"),
        (object(), "expected one of greedy"),
        ({}, "'None' is not implemented"),
    ],
)
def test_refuses_other_samplers(identifier, message):
    with pytest.raises(GenerationError, match=message):
        read_sampler(identifier)
