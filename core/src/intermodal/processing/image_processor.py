"""The image processor of a checkpoint: from images to pixels that a model takes, as preprocessor_config.json says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from intermodal.config import fields as declare
from intermodal.config.accounting import ABSENT, Account, Rule, one_of, refusal
from intermodal.config.fields import Check
from intermodal.errors import InputError
from intermodal.processing.encoding import array_as
from intermodal.processing.images import pillow, read_image

if TYPE_CHECKING:
    import numpy as np

FILE = "preprocessor_config.json"
MOST_SIDE = 1 << 14
"""Pixels along one side of what a model takes: far above any real one."""


def _size(value: Any) -> tuple[int, int]:
    """Height and width of an object of both, a list of both, or one number for the two (as transformers 4 wrote it)."""
    side = declare.integer(1, MOST_SIDE).read
    if isinstance(value, Mapping):
        if set(value) != {"height", "width"}:
            raise ValueError(value)
        value = value["height"], value["width"]
    height, width = value if isinstance(value, list | tuple) else (value, value)
    return side(height), side(width)


def _channels(value: Any) -> tuple[float, ...]:
    number = declare.real(-1e6, 1e6).read
    values = value if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3:
        raise ValueError(value)
    return tuple(number(item) for item in values)


def _deviations(value: Any) -> tuple[float, ...]:
    values = _channels(value)
    if not all(item > 0 for item in values):
        raise ValueError(value)
    return values


IMAGE_CHECKS = {
    "do_convert_rgb": declare.BOOLEAN,
    "do_resize": declare.BOOLEAN,
    "size": Check(
        '{"height": …, "width": …} in pixels, [height, width], or one number for both',
        _size,
        lambda size: {"height": size[0], "width": size[1]},
    ),
    "resample": Check(
        "a filter of Pillow: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box or 5 Hamming",
        declare.integer(0, 5).read,
    ),
    "do_rescale": declare.BOOLEAN,
    "rescale_factor": declare.real(above=0.0, most=1e6),
    "do_normalize": declare.BOOLEAN,
    "image_mean": Check("a number, or one for each of 3 channels", _channels, list),
    "image_std": Check("a positive number, or one for each of 3 channels", _deviations, list),
}
"""What the keys of preprocessor_config.json may hold."""

_UNSET = one_of(None, False)
SQUARE = "default_to_square"
RULES = {
    "do_center_crop": Rule(_UNSET, "images are then cropped", "Cropping is not supported by this image processor"),
    "do_pad": Rule(_UNSET, "images are then padded", "Padding is not supported by this image processor"),
}
INERT = {
    "image_processor_type": "the family is known from config.json",
    "feature_extractor_type": "the family is known from config.json",
    "processor_class": "the family is known from config.json",
    "image_seq_length": "config.json says how many tokens an image is",
    "crop_size": "nothing is cropped",
    "pad_size": "nothing is padded",
    "device": "pixels are computed on the host",
    "disable_grouping": "it chooses how the same pixels are computed",
    "return_tensors": "pixels are numpy arrays",
    "data_format": "pixels are (channels, height, width)",
    "input_data_format": "the layout of an array is seen from its shape",
    "transformers_version": "it says who wrote the file",
    "_valid_processor_keys": "it lists arguments of a call",
}


@dataclass(frozen=True, kw_only=True)
class ImageProcessor:
    """Resizes, rescales and normalises images. Fields are the keys of preprocessor_config.json.

    A family that takes images subclasses it, with the defaults of its class in transformers and perhaps `views`, and
    names the subclass in `Family.image_processor`.

    Attributes:
        do_convert_rgb: without it, images that are not red, green and blue are refused.
        do_resize: bring images to `size`, (height, width), whatever their shape, with the filter `resample`.
        do_rescale: multiply values of 0 to 255 by `rescale_factor`.
        do_normalize: subtract `image_mean` and divide by `image_std`, channel by channel.
        raw: the file as it was read, kept for export.
    """

    type_name: ClassVar[str] = "ImageProcessor"
    """transformers' name of the class, for export."""
    checks: ClassVar[Mapping[str, Check]] = IMAGE_CHECKS
    """What the fields accept; a subclass with more fields adds to it."""
    tells_crops: ClassVar[bool] = False
    """Whether a call tells `num_crops`, as transformers' class does where images are looked at in crops, too."""

    do_convert_rgb: bool = True
    do_resize: bool = True
    size: tuple[int, int] = (224, 224)
    resample: int = 2
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any], *, file: str = FILE) -> Self:
        """Read preprocessor_config.json. An absent key, and null, is the default; an unknown key is warned about.

        Raises:
            ConfigError: a value is malformed, or a key asks for what is not done here; all are named.
        """
        account = Account(raw, file, "")
        values = {
            name: account.read(check, name, value)
            for name, check in cls.checks.items()
            if (value := account.take(name)) is not None
        }
        square = account.take(SQUARE)
        if square is False and type(raw.get("size")) is int:
            account.refuse(SQUARE, square, "size is then the shorter edge alone; expected a height and a width")
        account.sort_rest(INERT, RULES, strict=False)
        if account.foreign:
            warnings.warn(f"{file}: keys that are not known, and not used: {', '.join(account.foreign)}", stacklevel=2)
        if account.problems or ABSENT in values.values():
            raise refusal(file, account.problems)
        return cls(**values, raw=dict(raw))

    def to_hf(self) -> dict[str, Any]:
        """The content of a preprocessor_config.json that transformers reads to the same pixels."""
        return {**self.raw, **self._written(), "image_processor_type": self.type_name}

    def files(self) -> dict[str, Any]:
        """The file that transformers reads to the same image processor: name → content."""
        return {FILE: self.to_hf()}

    def _written(self) -> dict[str, Any]:
        return {name: check.write(getattr(self, name)) for name, check in self.checks.items()}

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The same image processor with other settings.

        Raises:
            InputError: there is no such setting.
            ConfigError: as `from_hf`.
        """
        unknown = [name for name in settings if name not in self.checks and name not in RULES]
        if unknown:
            raise InputError(
                f"{', '.join(unknown)}: no setting of {self.type_name}, which has {', '.join(self.checks)}."
            )
        return type(self).from_hf({**self._written(), **settings}, file="images_kwargs") if settings else self

    def __call__(self, images: Any, *, return_tensors: str | None = None, **settings: Any) -> dict[str, Any]:
        """Pixels of an image or a list of images; an image is what `images.read_image` takes.

        Args:
            images: one, or a list of them.
            return_tensors: `"pt"`, `"jax"` or `"tf"` instead of numpy arrays.
            settings: that hold for this call, keys as in preprocessor_config.json.

        Returns:
            `pixel_values` (views, 3, height, width) float32, and where the family `tells_crops` `num_crops` (images,)
            int32: how many views follow the first of each image.

        Raises:
            InputError: an image cannot be read; or images stay of different sizes, because `do_resize` is false; or
                there is no such setting.
            ConfigError: a setting is malformed.
            TokenizerError: there are no such tensors, or their library is not installed.
        """
        import numpy as np

        if settings:
            return self.changed(settings)(images, return_tensors=return_tensors)
        listed = list(images) if isinstance(images, list | tuple) else [images]
        views = [[self.pixels(view) for view in self.views(self._read(image))] for image in listed]
        flat = [view for of_image in views for view in of_image]
        if len({view.shape for view in flat}) > 1:
            raise InputError("Images of different sizes make no array, and do_resize is false: resize them first.")
        empty = np.zeros((0, 3, *self.size), np.float32)
        found = {"pixel_values": np.stack(flat) if flat else empty}
        if self.tells_crops:
            found["num_crops"] = np.asarray([len(of_image) - 1 for of_image in views], np.int32)
        return {name: array_as(array, return_tensors or "np") for name, array in found.items()}

    def views(self, image: np.ndarray) -> list[np.ndarray]:
        """The image (H, W, 3) uint8, and crops of it where the family looks closer."""
        return [image]

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 → (3, height, width) float32, bit for bit as transformers computes it with Pillow."""
        import numpy as np

        if self.do_resize and image.shape[:2] != self.size:
            size = (self.size[1], self.size[0])
            image = np.asarray(pillow().Image.fromarray(image).resize(size, resample=self.resample))
        # Rescaled in float64 and rounded once; normalised in float32.
        values = (image.astype(np.float64) * self.rescale_factor if self.do_rescale else image).astype(np.float32)
        if self.do_normalize:
            values = (values - np.asarray(self.image_mean, np.float32)) / np.asarray(self.image_std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _read(self, image: Any) -> np.ndarray:
        if not self.do_convert_rgb and getattr(image, "mode", "RGB") != "RGB":
            raise InputError(f"The image has mode {image.mode}, and do_convert_rgb is false: convert it to RGB first.")
        return read_image(image)
