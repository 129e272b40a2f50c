"""Checks of what a model is called with, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from intermodal.errors import InputError

_UNREAD = frozenset({"token_type_ids"})
"""Inputs that tokenizers give whatever the model; models without types pass them over, in transformers too."""

_OTHER_NAMES = {"padding_mask": "attention_mask", "token_ids": "input_ids", "segment_ids": "token_type_ids"}
"""KerasHub's names."""


def check_names(inputs: Mapping[str, Any], reads: Collection[str]) -> None:
    """Refuse inputs that nothing reads: a mask under another name would be passed over without a word.

    Raises:
        InputError: names the input, and the inputs that there are.
    """
    for name in inputs:
        if name not in reads and name not in _UNREAD:
            instead = _OTHER_NAMES.get(name)
            hint = f" It is called {instead} here." if instead in reads else " Leave it out."
            raise InputError(f"{name} is no input of this model, which reads {', '.join(reads)}.{hint}")


def check_indices(inputs: Mapping[str, Any], tables: Mapping[str, int]) -> None:
    """Refuse indices beyond their table, which JAX and TensorFlow would take for the last row without a word.

    Only what is in the host's memory is looked at (arrays of numpy, lists): a tensor would have to be waited for.

    Raises:
        InputError: names the input, the index and the rows.
    """
    for name, rows in tables.items():
        values = inputs.get(name)
        if not isinstance(values, np.ndarray | list | tuple):
            continue
        values = np.asarray(values)
        if not values.size or values.dtype.kind not in "iu":
            continue
        least, most = int(values.min()), int(values.max())
        if least < 0 or most >= rows:
            wrong = least if least < 0 else most
            raise InputError(f"{name} holds {wrong}, expected indices from 0 to {rows - 1}: its table has {rows} rows.")


# Keywords of transformers' models that ask for more than the result; these values ask for nothing.
_SWITCHES = {
    "return_dict": (None, True),
    "use_cache": (None, False, True),
    "output_hidden_states": (None, False),
    "output_attentions": (None, False),
    "past_key_values": (None,),
}
_INSTEAD = {
    "labels": "A loss is computed by Keras: model.compile(optimizer, loss), then model.fit(inputs, labels).",
    "past_key_values": "generate() keeps what it has computed by itself.",
    "return_dict": "The result's to_tuple() gives a tuple.",
}


def check_keywords(keywords: Mapping[str, Any], flags: Collection[str] = ()) -> dict[str, Any]:
    """The inputs among the keywords of a call; those that ask for nothing, and those that are None, are left out.

    Args:
        keywords: of the call.
        flags: names whose values are true or false.

    Raises:
        InputError: a keyword asks for what is not computed, or is no tensor.
    """
    inputs = {}
    for name, value in keywords.items():
        if name in _SWITCHES and any(value is asked for asked in _SWITCHES[name]):
            continue
        is_flag = name in flags and isinstance(value, bool)
        is_input = is_flag or hasattr(value, "shape") or isinstance(value, list | tuple)
        if name in _INSTEAD or name in _SWITCHES or not (is_input or value is None):
            raise InputError(f"{name} is no input of this model. {_INSTEAD.get(name, 'Leave it out.')}")
        if value is not None:
            inputs[name] = value
    return inputs
