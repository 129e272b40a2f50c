"""The mark of a place that is still to be written: whoever gets there is told the file, the line and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from intermodal.errors import UnfinishedError

FILL_IN = "FILL IN"
"""How texts that `intermodal new` writes begin where only the author knows what to say."""


def unfinished(what: str) -> NoReturn:
    """Stop at a place that is still to be written. `intermodal new` puts such calls where an author has to look.

    Args:
        what: what to do there, as a command.

    Raises:
        UnfinishedError: always; it names the file and the line of the call.
    """
    caller = sys._getframe(1)
    path = Path(caller.f_code.co_filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    raise UnfinishedError(f"{shown}:{caller.f_lineno}: {what}. Then remove this call.")
