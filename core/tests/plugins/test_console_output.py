"""What commands print, on a terminal and elsewhere."""

import json
import os
import subprocess
import sys

import pytest
from intermodal.commands import console

ROWS = [{"name": "a", "size": 10, "more": None}, {"name": "[bold]long name", "size": 2, "more": None}]

DRAW = """
import sys
from intermodal.commands import console
console.table([{"name": "[bold]x", "size": 10}], ("name", "size"))
with console.progress_bar("Reading [b]it", total=4, unit="bytes") as advance:
    advance(4)
with console.progress_bar("Unwanted", total=4, enabled=False) as advance:
    advance(4)
"""


def test_a_table_is_aligned_text_where_there_is_no_terminal(capsys):
    console.table(ROWS, ("name", "size"))
    assert capsys.readouterr().out == "name             size\na                10\n[bold]long name  2\n"
    console.table([], ("name", "size"))
    assert capsys.readouterr().out == "name  size\n"


def test_json_is_printed_as_it_is(capsys):
    console.emit_json({"text": "naïve ✓", "none": None})
    printed = capsys.readouterr().out
    assert "naïve ✓" in printed
    assert json.loads(printed) == {"text": "naïve ✓", "none": None}


def test_no_progress_bar_where_there_is_no_terminal(capsys):
    with console.progress_bar("Reading", total=3) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_tables_and_bars_are_drawn_and_brackets_are_no_markup():
    pty = pytest.importorskip("pty", reason="pseudo-terminals need a Unix")
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", DRAW], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    seen = b""
    while True:
        try:
            read = os.read(leader, 1 << 16)
        except OSError:  # Linux reports the end of a pseudo-terminal so
            break
        if not read:
            break
        seen += read
    os.close(leader)
    text = seen.decode()
    assert process.wait(timeout=30) == 0, text
    assert "│ [bold]x │ 10   │" in text
    assert "Reading [b]it" in text
    assert "4/4 bytes" in text
    assert "Unwanted" not in text
