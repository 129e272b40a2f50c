"""Writing a tokenizer as the files that transformers' AutoTokenizer reads."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError

if TYPE_CHECKING:
    from intermodal.processing.tokenizer import Tokenizer

TEMPLATE_FOLDER = "additional_chat_templates"

# They name code, files or states that are not there, or say again, and perhaps otherwise, what tokenizer.json says.
_LEFT_OUT = frozenset(
    """
    added_tokens_decoder added_tokens_encoder add_bos_token add_eos_token auto_map backend chat_template
    fast_tokenizer_files files_loaded init_inputs is_local local_files_only merges_file name_or_path processor_class
    slow_tokenizer_class special_tokens_map_file sp_model_kwargs tokenizer_file vocab_file
    """.split()  # noqa: SIM905 - a list of this length would hide what is in it
)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat templates into `folder`.

    Each file is written beside and renamed into place.

    Raises:
        TokenizerError: a chat template's name is no file name.
    """
    for name in tokenizer.chat_templates:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise TokenizerError(f"The chat template name {name!r} cannot be a file name; rename it in chat_templates.")
    files = {
        "tokenizer.json": tokenizer.to_json(),
        "tokenizer_config.json": json.dumps(tokenizer_config(tokenizer), indent=2, ensure_ascii=False) + "\n",
    }
    for name, template in tokenizer.chat_templates.items():
        files["chat_template.jinja" if name == "default" else f"{TEMPLATE_FOLDER}/{name}.jinja"] = template
    for name, content in files.items():
        write_text(folder / name, content)


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """tokenizer_config.json of a tokenizer that is wholly described by its tokenizer.json."""
    kept = {key: value for key, value in tokenizer.config.items() if key not in _LEFT_OUT}
    if isinstance(kept.get("extra_special_tokens"), list):  # transformers 4 reads only the older name of the list
        kept.setdefault("additional_special_tokens", kept.pop("extra_special_tokens"))
    return {
        **kept,
        **tokenizer.special_tokens,
        "padding_side": tokenizer.padding_side,
        "model_input_names": tokenizer.model_input_names,
        "tokenizer_class": tokenizer.class_name,
    }


def write_text(path: Path, text: str) -> None:
    """Write a small file beside, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        # Line breaks of a chat template are part of the prompt: they are written as they are.
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
