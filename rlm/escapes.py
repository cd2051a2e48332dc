"""Untrusted text with what could steer a terminal, or the order of its letters, made visible."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, without tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional overrides: shown code is not what runs
    "\u2028\u2029\ufeff"
    "\ud800-\udfff"  # lone surrogates cannot be encoded
    "]"
)


def visible(text: str) -> str:
    """`text` with every character that could steer a terminal written as its Python escape, e.g. `\\x1b`.

    Newlines and tabs stay, `\\r\\n` becomes a newline.
    """
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
