"""The visual backbone, and the stand-in that transformers is tested with, against torchvision and detectron2."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from intermodal.testing.reference import assert_close
from intermodal_layoutlmv2.config import LayoutLMv2Config
from intermodal_layoutlmv2.visual_config import DEFAULT, VisualConfig

torch = pytest.importorskip("torch")
S = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("stand_in", Path(__file__).with_name("detectron2_stand_in.py"))
)
spec.loader.exec_module(S)

SMALL = {
    "MODEL.RESNETS.DEPTH": 101,
    "MODEL.RESNETS.NUM_GROUPS": 4,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 12,
}
WHOLE = VisualConfig.read(DEFAULT)


def stand_in(**changes):
    """The backbone in plain PyTorch, of the full depth, with random weights."""
    torch.manual_seed(0)
    chosen = {**S.DEFAULTS, **{key: value for key, value in DEFAULT.items() if key in S.DEFAULTS}, **changes}
    return S.Pyramid(chosen).eval()


def finest(theirs, pixels):
    with torch.no_grad():
        return theirs(torch.from_numpy(pixels)).numpy()


def ours(theirs, config, pixels):
    """What the Keras functions make of the same weights: the pyramid's finest level, channels first."""
    import keras
    from intermodal.api import Bundle
    from intermodal_layoutlmv2.visual import finest_level, resnet
    from intermodal_layoutlmv2.visual_weights import visual_backbone

    state = {f"visual.backbone.{name}": value for name, value in theirs.state_dict().items()}
    tree = {}
    for weight in visual_backbone(config):
        value = keras.ops.convert_to_tensor(state.pop(weight.name).numpy())
        assert tuple(value.shape) == weight.shape, weight.name
        home, name = tree, weight.name
        if weight.block:
            stem, number = weight.block
            blocks = tree.setdefault(stem, [])
            blocks.extend({} for _ in range(number + 1 - len(blocks)))
            home, name = blocks[number], weight.name.removeprefix(f"{stem}.{number}.")
        module, _, field = name.rpartition(".")
        module, field = (module, field) if field in ("weight", "bias") else (name, "weight")
        home[module] = home.get(module, Bundle(None))._replace(**{field: value})
    assert not state, f"the weight map lacks {sorted(state)[:4]}"
    x = keras.ops.convert_to_tensor(pixels.transpose(0, 2, 3, 1))
    return keras.ops.transpose(finest_level(resnet(x, tree, config), tree), (0, 3, 1, 2))


@pytest.mark.backend
def test_full_depth_is_the_stand_ins():
    """101 layers, narrow."""
    pixels = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype("float32")
    theirs = stand_in(**SMALL)
    assert_close(ours(theirs, VisualConfig.read({**DEFAULT, **SMALL}), pixels), finest(theirs, pixels))


def test_full_width_has_the_published_shapes():
    """The weight map of the default config names and shapes what the stand-in of full width has."""
    from intermodal_layoutlmv2.visual_weights import visual_backbone

    with torch.device("meta"):
        state = stand_in().state_dict()
    expected = {f"visual.backbone.{name}": tuple(value.shape) for name, value in state.items()}
    assert {weight.name: weight.shape for weight in visual_backbone(WHOLE)} == expected
    assert sum(1 for weight in visual_backbone(WHOLE) if weight.frozen) == 4 * 104


def test_stand_in_is_torchvisions():
    """torchvision's ResNeXt-101 32x8d and feature pyramid with the same weights, at full width."""
    vision = torchvision()
    theirs = stand_in()
    resnet = vision.models.resnext101_32x8d(norm_layer=vision.ops.FrozenBatchNorm2d).eval()
    pyramid = vision.ops.FeaturePyramidNetwork([256, 512, 1024, 2048], 256).eval()
    state = theirs.state_dict()
    resnet.load_state_dict(
        {name: state[_in_detectron(name)] for name in resnet.state_dict() if name[:2] != "fc"}, False
    )
    levels = {"inner_blocks": "lateral", "layer_blocks": "output"}
    renamed = {name: name.split(".") for name in pyramid.state_dict()}
    pyramid.load_state_dict(
        {
            name: state[f"fpn_{levels[kind]}{int(index) + 2}.{field}"]
            for name, (kind, index, *_, field) in renamed.items()
        }
    )
    pixels = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype("float32")
    with torch.no_grad():
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(torch.from_numpy(pixels)))))
        found = {}
        for number in range(1, 5):
            found[str(number)] = x = getattr(resnet, f"layer{number}")(x)
        expected = pyramid(found)["1"].numpy()
    np.testing.assert_allclose(finest(theirs, pixels), expected, atol=1e-5 * np.abs(expected).max())


def test_stand_in_is_detectron2s():
    """detectron2's own Mask R-CNN backbone under transformers' config, with the same weights."""
    pytest.importorskip("detectron2", reason="detectron2 is in no registry: build it from source to run this")
    torchvision()
    from detectron2.config import get_cfg
    from detectron2.modeling import build_backbone

    config = get_cfg()
    for key, value in {**DEFAULT, "MODEL.DEVICE": "cpu"}.items():
        home, _, name = key.rpartition(".")
        setattr(__import__("functools").reduce(getattr, home.split("."), config), name, value)
    theirs, real = stand_in(), build_backbone(config).eval()
    missing, unexpected = real.load_state_dict(theirs.state_dict(), strict=False)
    assert not [name for name in (*missing, *unexpected) if "num_batches" not in name]
    pixels = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype("float32")
    with torch.no_grad():
        expected = real(torch.from_numpy(pixels))["p2"].numpy()
    np.testing.assert_allclose(finest(theirs, pixels), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("size", "number"), [(56, 7), (16, 5), (7, 7), (9, 4)])
def test_regions_are_torchs_adaptive_average(size, number):
    from intermodal_layoutlmv2.visual import regions

    x = torch.randn(1, 1, size, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool1d(x, number)[0, 0].numpy()
    np.testing.assert_allclose(regions(size, number) @ x[0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("bins", "reach"), [(32, 128), (64, 256), (8, 12), (4, 5), (13, 40)])
def test_bins_of_all_distances_are_transformers(bins, reach):
    modeling = pytest.importorskip("transformers.models.layoutlmv2.modeling_layoutlmv2")
    from intermodal_layoutlmv2.distances import bin_of_distance

    expected = modeling.relative_position_bucket(torch.arange(-1100, 1101), num_buckets=bins, max_distance=reach)
    np.testing.assert_array_equal(bin_of_distance(1100, bins, reach), expected.numpy())


@pytest.mark.parametrize("change", [{"MODEL.FPN.NORM": "GN"}, {"MODEL.PIXEL_STD": [1, 0, 1]}, {"MODEL.FPN.OUT": 3}])
def test_what_detectron2_would_compute_otherwise_is_refused_by_name(change):
    from intermodal.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        LayoutLMv2Config.from_hf({"model_type": "layoutlmv2", "detectron2_config_args": {**DEFAULT, **change}})
    assert next(iter(change)) in str(caught.value)


def test_keys_that_are_absent_have_detectron2s_defaults():
    from intermodal.errors import ConfigError

    with pytest.raises(ConfigError, match=r"BACKBONE\.NAME.*detectron2's default"):
        LayoutLMv2Config.from_hf({"model_type": "layoutlmv2", "detectron2_config_args": {"MODEL.RESNETS.DEPTH": 101}})
    assert VisualConfig.read({}).pixel_std == (1.0, 1.0, 1.0)


def torchvision():
    """torchvision, whose compiled operators (which nothing here calls) may be built for another PyTorch.

    Beside PyTorch it changes which image processors transformers takes, so it is in no group of this repository:
    `pip install --no-deps --target FOLDER torchvision`, and FOLDER on PYTHONPATH.
    """
    if not importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is not installed")
    register = torch.library.register_fake

    def unless_torchvisions(name, *arguments, **options):
        return (lambda f: f) if str(name).startswith("torchvision::") else register(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.library, "register_fake", unless_torchvisions)
        import torchvision as vision
        import torchvision.models
        import torchvision.ops
    return vision


def _in_detectron(name):
    """A name of torchvision's ResNet as detectron2 has it."""
    stem = {"conv1": "bottom_up.stem.conv1", "bn1": "bottom_up.stem.conv1.norm"}
    parts = name.split(".")
    if parts[0] in stem:
        return ".".join([stem[parts[0]], *parts[1:]])
    layer, block, module, *rest = parts
    if module == "downsample":
        module, rest = ("shortcut", rest[1:]) if rest[0] == "0" else ("shortcut.norm", rest[1:])
    elif module.startswith("bn"):
        module = f"conv{module[2:]}.norm"
    return ".".join([f"bottom_up.res{int(layer[5:]) + 1}", block, module, *rest])
