"""How strong one sandbox is here, for `rlm doctor`: a check per property, each by trying. Blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from rlm.commands.checks import Check
from rlm.errors import SandboxError, SandboxUnavailable

_MENDS = {
    "memory": "as root, or with a systemd user session, bubblewrap limits it as a whole",
    "processor time": "as root, or with a systemd user session, bubblewrap limits it",
}


def walls(name: str | None, runtime: str | None) -> Iterator[Check]:
    """The properties of this sandbox, or of the one that `auto` takes; one note if it cannot be tried."""
    import asyncio

    from rlm.kernels import select, strength

    try:
        chosen: Any = name or ("docker" if runtime else select.best())
    except SandboxUnavailable:
        return  # which the checks before this one have told
    where = f"{chosen} ({runtime})" if runtime else chosen
    try:
        found = asyncio.run(strength.try_walls(partial(select.probe, chosen, runtime=runtime)))
    except SandboxError as error:
        yield Check(where, "note", f"its walls could not be tried: {error}")
        return
    for each in found:
        holds = each.level == "ok"
        fix = _MENDS.get(each.name, "") if chosen == "bwrap" else ""
        detail = each.detail if holds else f"{each.level}: {each.detail}"
        yield Check(f"{where}, {each.name}", "ok" if holds else "note", detail, fix)
