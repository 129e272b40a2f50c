"""The table of installed plugins; on request with a trial import of each, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from intermodal import catalog
from intermodal.catalog import Claim

CHECK_SECONDS = 60.0
"""How long a plugin may take to import before `--check` calls it broken."""


def rows(check: bool = False) -> list[dict[str, Any]]:
    """One row for each claim: group, key, distribution, version, requires, api, status, note.

    `api` is known only to the plugin's own code, so it is None unless `check` is set. `note` explains a status; for
    `broken` it is the traceback.
    """
    claims = catalog.claims()
    table = [_row(claim) for claim in claims]
    if not check:
        return table
    from concurrent.futures import ThreadPoolExecutor

    tried = {claim.dist: claim for claim in claims if claim.dist != catalog.CORE and _may_load(claim)}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = dict(zip(tried, pool.map(_import_elsewhere, tried.values()), strict=True))
    for row in table:
        row.update(results.get(row["distribution"], {}))
    return table


def _may_load(claim: Claim) -> bool:
    return catalog.status(claim) in ("installed", "conflicting")


def _row(claim: Claim) -> dict[str, Any]:
    status = catalog.status(claim)
    notes = {
        "installed": "",
        "blocked": f"kept out by {catalog.ALLOW_LIST}",
        "incompatible": f"intermodal {catalog.running_version()} is running",
        "conflicting": "also claimed by " + ", ".join(other.dist for other in catalog.rivals(claim)),
    }
    return {
        "group": claim.group.rpartition(".")[2],
        "key": claim.key,
        "distribution": claim.dist,
        "version": claim.version,
        "requires": list(claim.requires),
        "api": None,
        "status": status,
        "note": notes[status],
    }


def _import_elsewhere(claim: Claim) -> dict[str, Any]:
    """Load a plugin and ask it for everything it claims, in a new interpreter with this one's search path."""
    import subprocess

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-c", f"from {__name__} import try_plugin; try_plugin()", claim.dist]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"status": "broken", "note": f"importing it took longer than {CHECK_SECONDS:.0f} s"}
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        said = done.stderr.strip()[-2000:]
        return {"status": "broken", "note": f"importing it ended the process with code {done.returncode}\n{said}"}


def try_plugin() -> None:
    """Run in the new interpreter: print one JSON object with what is known after loading the plugin `sys.argv[1]`."""
    import traceback

    answer = os.dup(1)
    os.dup2(2, 1)  # whatever the plugin prints must not mix with the answer
    from intermodal.errors import IncompatiblePluginError, PluginError
    from intermodal.plugins import manager

    found: dict[str, Any] = {}
    try:
        apis = set()
        for claim in catalog.claims():
            if claim.dist == sys.argv[1]:
                apis |= {family.api for family in manager().load(claim).families}
                if claim.group != catalog.FAMILIES:
                    manager().promised(claim)
        found["api"] = max(apis, default=None)
    except IncompatiblePluginError as error:
        found = {"status": "incompatible", "note": str(error)}
    except PluginError as error:
        cause = error.__cause__
        found = {"status": "broken", "note": "".join(traceback.format_exception(cause)) if cause else str(error)}
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(found, stream)
