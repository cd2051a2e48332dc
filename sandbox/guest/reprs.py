"""Reprs and rich displays as bounded text in the cell's output."""

from __future__ import annotations

import sys
from typing import Any

from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.zmqshell import ZMQDisplayPublisher

LIMIT = 1 << 18
"""Characters of one repr; a longer one is cut in the middle."""
BIG = 1 << 20
"""A str or bytes beyond this is not handed to `repr` whole: its repr would be another copy."""


def cut(text: str) -> str:
    if len(text) <= LIMIT:
        return text
    half = LIMIT // 2
    return f"{text[:half]}\n[… {len(text) - LIMIT:,} characters …]\n{text[-half:]}"


def big_text(value: object) -> str | None:
    """The repr of a huge str or bytes, from its ends only; None for anything else."""
    if isinstance(value, (str, bytes, bytearray)) and len(value) > BIG:
        half = LIMIT // 2
        return f"{value[:half]!r}\n[… {len(value) - LIMIT:,} more of {len(value):,} …]\n{value[-half:]!r}"
    return None


def plain(data: dict[str, Any]) -> str:
    """The text of a MIME bundle, and what else it holds."""
    text = data.get("text/plain")
    others = [mime for mime in data if mime not in {"text/plain", "text/html", "text/latex", "text/markdown"}]
    parts = [cut(text)] if isinstance(text, str) else []
    parts += [
        f"[{mime}, {len(data[mime]):,} characters, not shown]" for mime in others if hasattr(data[mime], "__len__")
    ]
    if not parts and isinstance(markdown := data.get("text/markdown") or data.get("text/html"), str):
        parts = [cut(markdown)]
    return "\n".join(parts)


class CappedHook(ZMQShellDisplayHook):  # type: ignore[misc]
    """The value of a cell's last expression."""

    def __call__(self, result: Any = None) -> None:
        if result is None or self.quiet():
            return
        text = big_text(result)
        if text is None:
            text = plain(self.compute_format_data(result)[0])
        self.shell.user_ns["_"] = result
        sys.stdout.write(text + "\n")


class CappedDisplay(ZMQDisplayPublisher):  # type: ignore[misc]
    """`display(…)` and everything built on it."""

    def publish(self, data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        sys.stdout.write(plain(data) + "\n")

    def clear_output(self, wait: bool = False) -> None: ...
