"""What goes to an MCP server, and what it returns as one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pydantic_core

from rlm.tools.failures import ToolFailure, one_line
from rlm.tools.values import compact, cut, to_json

if TYPE_CHECKING:
    from mcp import types


MARGIN = 100
"""Levels of JSON that arguments stay below the 255 that can be written: servers of the same package read 200, and
drop the rest without a word."""


def sendable(arguments: Mapping[str, Any]) -> None:
    """Raises `ToolFailure` for what cannot be written as JSON: lone surrogates, too many levels."""
    wrapped: Any = dict(arguments)
    for _ in range(MARGIN):
        wrapped = [wrapped]
    try:
        pydantic_core.to_json(wrapped)
    except ValueError as error:
        raise ToolFailure(f"bad arguments: they cannot be sent: {one_line(str(error))}") from None


def result_of(result: types.CallToolResult, limit: int) -> Any:
    """Its texts in one, with a short note in place of what is no text; without any text, its structured content.

    Raises `ToolFailure` with at most `limit` characters if the server says that the call failed.
    """
    parts = [_part(block) for block in result.content]
    text = "\n".join(part for part, _ in parts)
    if result.is_error:
        raise ToolFailure(cut(text, limit) or "the tool failed, and did not say why")
    if result.structured_content is None or any(is_text for _, is_text in parts):
        return text
    structured = to_json(result.structured_content)
    return "\n".join([text, compact(structured)]) if text else structured


def _part(block: types.ContentBlock) -> tuple[str, bool]:
    """What it says, and whether that is its own text."""
    if block.type == "text":
        return block.text, True
    if block.type == "resource_link":
        return f"[{block.mime_type or 'link'}: {block.uri}]", False
    if block.type != "resource":
        return _blob(block.mime_type, block.data), False
    if hasattr(block.resource, "text"):
        return block.resource.text, True
    return _blob(block.resource.mime_type, block.resource.blob), False


def _blob(kind: str | None, data: str) -> str:
    """`[image/png, 12,345 bytes]`"""
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return f"[{kind or 'data'}, {size:,} bytes]"
