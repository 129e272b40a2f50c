"""Images as users pass them, read as red, green and blue: paths, bytes, data URIs, PIL images and arrays.

What an image becomes is what transformers 5.23 makes of it, the same for each way of passing it.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_FILE = 256 << 20
"""Bytes of an image file."""

MAX_PIXELS = 1 << 27
"""Pixels of an image, some 134 million: more than cameras have, and 400 MB when decoded."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded. Pillow knows more, some by calling other programs."""

EXPECTED = "a path, a data: URI, the bytes of an image file, a PIL image, or a uint8 array of shape (height, width, 3)"
_DEEP = ("I", "F")  # modes with more than 8 bits begin so: I, I;16, I;16B, F


def pillow() -> Any:
    """The Pillow library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise InputError(
            'Images are read with Pillow, which is not installed: pip install "intermodal[images]"'
        ) from None
    return PIL


def read_image(source: Any) -> np.ndarray:
    """An image as (height, width, 3) uint8.

    Args:
        source: see `EXPECTED`; or a dict with one of them under `image`, `path`, `url` or `base64`, as messages of a
            chat hold it. Files are turned upright as their EXIF orientation says, and lose what transparency they
            have; transparent PIL images and arrays are laid over white. Of several frames, the first is taken.

    Raises:
        InputError: it is something else, cannot be decoded, is larger than `MAX_PIXELS`, or has more than 8 bits a
            channel; or it is on the web, from where nothing is fetched.
    """
    if isinstance(source, Mapping):
        source = image_of_part(source)
    if isinstance(source, str) and not source.startswith("data:"):
        if "://" in source[:16]:
            raise InputError(
                f"{source[:80]} is not fetched: images come from this machine alone, so that a prompt cannot make it "
                "call others. Download the file and pass its path."
            )
        source = Path(source)
    if isinstance(source, str):
        return _decoded(_data_uri(source), "the data: URI")
    if isinstance(source, os.PathLike):
        return _decoded(_file(Path(source)), str(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _decoded(bytes(source), "the bytes")
    if hasattr(source, "getbands"):
        return _over_white(source)
    if hasattr(source, "__array__"):
        return _from_array(source)
    raise InputError(f"An image is {EXPECTED}; got {type(source).__name__}.")


def upright_rgb(source: Any) -> Any:
    """A PIL image as a pipeline takes it: turned upright, and without its transparency, as an image file is read.

    Anything else is returned as it is.

    Raises:
        InputError: it is too large, or has more than 8 bits a channel.
    """
    if not hasattr(source, "getbands"):
        return source
    check_size(source.width, source.height, "The image")
    _check_depth(source, "The image")
    return pillow().ImageOps.exif_transpose(source).convert("RGB")


def image_of_part(part: Mapping[str, Any]) -> Any:
    """The image of a chat message's part, under whichever of transformers' keys.

    Raises:
        InputError: it has none, or several.
    """
    keys = [key for key in ("image", "path", "url", "base64") if part.get(key) is not None]
    if len(keys) != 1:
        raise InputError(
            f"A part of type image has one of the keys image, path, url and base64; got {', '.join(map(str, part))}."
        )
    value = part[keys[0]]
    return f"data:;base64,{value}" if keys == ["base64"] and not str(value).startswith("data:") else value


def _data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InputError(f"{uri[:40]}…: a data: URI of an image has the form data:image/png;base64,….")
    if len(body) > MAX_FILE * 4 // 3:
        raise InputError(f"The data: URI has {len(body)} characters: an image file has at most {MAX_FILE} bytes.")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{uri[:40]}… is not valid base64: {error}.") from None


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The image {str(path)[:200]} cannot be read: {reason}.") from None
    if len(data) > MAX_FILE:
        raise InputError(f"{path} is larger than {MAX_FILE} bytes, the most that an image file may have.")
    return data


def _decoded(data: bytes, name: str) -> np.ndarray:
    """An image file: upright, without its transparency."""
    PIL = pillow()
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(image.width, image.height, name)
            _check_depth(image, name)
            upright = PIL.ImageOps.exif_transpose(image)
            return _array(upright.convert("RGB"))
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever they come across
        raise InputError(f"{name} cannot be decoded as an image ({', '.join(FORMATS)}): {error}.") from error


def _over_white(image: Image) -> np.ndarray:
    """A PIL image, what is transparent laid over white."""
    PIL = pillow()
    check_size(image.width, image.height, "The image")
    _check_depth(image, "The image")
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        clear = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        return _array(PIL.Image.alpha_composite(white, clear).convert("RGB"))
    return _array(image.convert("RGB"))


def _from_array(source: Any) -> np.ndarray:
    """An array of uint8: (H, W), (H, W, C) or (C, H, W), where C is 1, 3 or 4."""
    import numpy as np

    detached: Any = getattr(source, "detach", lambda: source)()
    values: Any = np.asarray(getattr(detached, "cpu", lambda: detached)())
    if values.dtype != np.uint8:
        raise InputError(f"An array of an image holds uint8 values from 0 to 255; got {values.dtype}.")
    if values.ndim == 2:
        values = values[:, :, None]
    first, last = (values.ndim == 3 and values.shape[axis] in (1, 3, 4) for axis in (0, -1))
    if first == last:
        why = "which may be either" if first else "which is neither"
        raise InputError(
            f"An array of an image has shape (height, width, channels) or (channels, height, width); got "
            f"{values.shape}, {why}. Pass PIL.Image.fromarray(…)."
        )
    values = np.moveaxis(values, 0, -1) if first else values
    check_size(values.shape[1], values.shape[0], "The image")
    if values.shape[-1] == 4:
        alpha = values[..., 3:] / 255
        values = np.round(alpha * values[..., :3] + (1 - alpha) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an image without pixels or with too many, before it is decoded.

    Raises:
        InputError: names the image and its size.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(f"{name} has {width} x {height} pixels, expected 1 to {MAX_PIXELS} in all. Resize it first.")


def _check_depth(image: Image, name: str) -> None:
    if image.mode.startswith(_DEEP):
        raise InputError(f"{name} has more than 8 bits a channel (mode {image.mode}): convert it to 8 bits first.")


def _array(image: Image) -> np.ndarray:
    import numpy as np

    return np.asarray(image)
