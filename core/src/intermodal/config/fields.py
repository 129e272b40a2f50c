"""How a config class declares its fields: a default, what values are accepted, and their normal form."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ACTIVATIONS",
    "BOOLEAN",
    "Check",
    "activation",
    "checked",
    "choice",
    "choices",
    "flag",
    "integer",
    "label_ids",
    "labels",
    "names",
    "number",
    "real",
    "size",
    "sizes",
    "summary",
    "token_id",
    "token_ids",
]

_TANH_FORM = "gelu_pytorch_tanh"
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    _TANH_FORM: _TANH_FORM,
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh"), _TANH_FORM),
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Names of transformers' activations, and of those that are one function the same one; see `kernels.activation`."""

MOST_LABELS = 1 << 20
MOST_CHOICES = 1 << 12
MOST_TOKEN_ID = (1 << 31) - 1


@dataclass(frozen=True)
class Check:
    """What a field accepts.

    Attributes:
        expected: what is accepted, in words that complete "expected …".
        read: brings an accepted value to its normal form (and that to itself); raises ValueError for any other.
        write: brings the normal form to what config.json holds.
    """

    expected: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = lambda value: value

    def or_null(self) -> Check:
        """The same check, where null is a value of its own."""
        read, write = self.read, self.write
        return Check(
            f"{self.expected}, or null",
            lambda value: None if value is None else read(value),
            lambda value: None if value is None else write(value),
        )


def integer(least: int, most: int) -> Check:
    """An integer in a range. A bool, a float and a string of digits are not integers."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(value)
        return value

    return Check(f"an integer from {least} to {most}", read)


def real(least: float = -math.inf, most: float = math.inf, above: float | None = None) -> Check:
    """A finite number in a range; an integer is taken as the float it equals."""
    low = f"above {above:g}" if above is not None else "" if least == -math.inf else f"from {least:g}"
    expected = " ".join(filter(None, ["a finite number", low, "" if most == math.inf else f"up to {most:g}"]))

    def read(value: Any) -> float:
        if type(value) not in (int, float):
            raise ValueError(value)
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(value) from None
        if not math.isfinite(number) or not least <= number <= most or (above is not None and number <= above):
            raise ValueError(value)
        return number

    return Check(expected, read)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(value)
    return value


def _token_ids(value: Any) -> int | tuple[int, ...]:
    single = integer(-1, MOST_TOKEN_ID).read
    if isinstance(value, list | tuple):
        if len(value) > 4096:
            raise ValueError(value)
        return tuple(single(item) for item in value)
    return single(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > 256 or not all(isinstance(item, str) for item in value):
        raise ValueError(value)
    return tuple(value)


def _labels(value: Any) -> dict[int, str]:
    if not isinstance(value, Mapping) or not 0 < len(value) <= MOST_LABELS:
        raise ValueError(value)
    # JSON has only string keys; int("1_0") and int(" 1") are Python's leniency, not JSON's.
    labels = {int(key): label for key, label in value.items() if type(key) is int or str(key).isdecimal()}
    if len(labels) != len(value) or not all(isinstance(label, str) for label in labels.values()):
        raise ValueError(value)
    return labels


def _label_ids(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping) or len(value) > MOST_LABELS:
        raise ValueError(value)
    ids = {str(label): int(item) for label, item in value.items() if type(item) is int or str(item).isdecimal()}
    if len(ids) != len(value):
        raise ValueError(value)
    return ids


BOOLEAN = Check("true or false", _boolean)


def size(default: int | None, *, most: int, least: int = 1, nullable: bool = False) -> Any:
    """A field that counts something: an integer from `least` up to `most`, a limit far above any real model."""
    return _field(default, integer(least, most), nullable)


def sizes(default: tuple[int, ...], *, most: int) -> Any:
    """A field that is a list of such sizes (a tuple in normal form): at least one, and at most 256."""
    single = integer(1, most)

    def read(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= 256:
            raise ValueError(value)
        return tuple(single.read(item) for item in value)

    return _field(default, Check(f"a list of 1 to 256 integers from 1 to {most}", read, _as_list), nullable=False)


def checked(default: Any, check: Check, *, nullable: bool = False, hash: bool | None = None) -> Any:
    """A field with a check of the family's own.

    Args:
        default: immutable; it is read by the check, too.
        check: what is accepted.
        nullable: null is a value of its own.
        hash: false where its normal form has none, as a dict.
    """
    return _field(default, check, nullable, hash)


def number(default: float, *, least: float = -math.inf, most: float = math.inf, above: float | None = None) -> Any:
    """A field that is a finite number."""
    return _field(default, real(least, most, above), nullable=False)


def flag(default: bool) -> Any:
    """A field that is true or false."""
    return _field(default, BOOLEAN, nullable=False)


def choice(default: str | None, accepted: Mapping[str, str], *, nullable: bool = False) -> Any:
    """A field with a few values. `accepted` maps each spelling to its normal form."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in accepted:
            raise ValueError(value)
        return accepted[value]

    return _field(default, Check("one of " + ", ".join(f'"{name}"' for name in accepted), read), nullable)


def choices(default: tuple[str, ...] | None, accepted: Mapping[str, str], *, nullable: bool = False) -> Any:
    """A field that lists values (a tuple in normal form), such as the kind of each layer; `accepted` as in `choice`."""

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > MOST_CHOICES:
            raise ValueError(value)
        if not all(isinstance(item, str) and item in accepted for item in value):
            raise ValueError(value)
        return tuple(accepted[item] for item in value)

    expected = f"a list of up to {MOST_CHOICES} of " + " and ".join(f'"{name}"' for name in accepted)
    return _field(default, Check(expected, read, _as_list), nullable)


def activation(default: str) -> Any:
    """A field that names an activation, one of `ACTIVATIONS`; `kernels.activation` gives the function of its value."""
    return choice(default, ACTIVATIONS)


def token_id(default: int | None) -> Any:
    """A field that is a token id or null. Hub checkpoints also write -1 for "none", which is kept."""
    return _field(default, integer(-1, MOST_TOKEN_ID), nullable=True)


def token_ids(default: int | None) -> Any:
    """A field that is one token id, a list of them (a tuple in normal form), or null."""
    check = Check("a token id (an integer, -1 for none) or a list of them", _token_ids, _as_list)
    return _field(default, check, nullable=True)


def names() -> Any:
    """A field that is a list of strings (a tuple in normal form); null is an empty one."""
    check = Check("a list of strings", lambda value: () if value is None else _names(value), _as_list)
    return _field((), check, nullable=False)


def labels() -> Any:
    """A field that maps class indices to label names; config.json has the indices as strings."""
    check = Check(
        f"an object of 1 to {MOST_LABELS} label names by class index",
        _labels,
        lambda value: {str(index): label for index, label in value.items()},
    )
    return _field(None, check, nullable=True, hash=False)


def label_ids() -> Any:
    """A field that maps label names to class indices."""
    return _field(None, Check("an object of class indices by label name", _label_ids), nullable=True, hash=False)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _field(default: Any, check: Check, nullable: bool, hash: bool | None = None) -> Any:
    return field(default=default, hash=hash, metadata={"check": check.or_null() if nullable else check})


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxdict = _SHORT.maxlist = 3
_SHORT.maxlevel = 2


def summary(value: Any) -> str:
    """A value as config.json spells it, shortened, and with control characters escaped for the screen."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    return _SHORT.repr(value)
