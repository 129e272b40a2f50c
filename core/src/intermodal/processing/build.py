"""What the builders of tokenizers from older files share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from intermodal.errors import IntermodalError, TokenizerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@contextmanager
def guarded(origin: str) -> Iterator[None]:
    """Turn whatever the tokenizers library raises about a file, its panics included, into a TokenizerError."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, IntermodalError):
        raise
    except BaseException as error:  # a Rust panic is no Exception
        raise TokenizerError(f"{origin} cannot be used: {error}") from error


def put_around_texts(backend: Tokenizer, config: Mapping[str, Any], roles: Mapping[str, str], origin: str) -> None:
    """Put the bos token before and the eos token after each text, where tokenizer_config.json asks for it.

    Raises:
        TokenizerError: there is no such token.
    """
    from tokenizers import processors

    around = {role: roles.get(role) for role in ("bos_token", "eos_token") if config.get(f"add_{role}")}
    if None in around.values():
        raise TokenizerError(f"{origin}: add_bos_token or add_eos_token is true, but there is no such token.")
    bos, eos = around.get("bos_token"), around.get("eos_token")
    single, second = (
        [part for part in (bos and f"{bos}:{kind}", f"${name}:{kind}", eos and f"{eos}:{kind}") if part]
        for name, kind in (("A", 0), ("B", 1))
    )
    tokens = [(token, backend.token_to_id(token)) for token in around.values() if token]
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=single + second, special_tokens=list(dict(tokens).items())
    )
