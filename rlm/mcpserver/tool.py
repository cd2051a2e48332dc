"""The tool `ask_documents`: its definition, its arguments checked, and a run's result as the tool's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import types

from rlm.config import Settings
from rlm.errors import InputError
from rlm.prompts import render
from rlm.result import RunResult
from rlm.service import ceilings
from rlm.service.about import TOLD, about

NAME = "ask_documents"
MOST_PATHS = 1000
_WORDS: dict[str, Any] = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call of the tool."""

    question: str
    paths: tuple[str, ...] = ()
    text: str | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Arguments:
        """Raises `InputError` for arguments of the wrong type; the limits are checked by who applies them."""
        question, paths, text = raw.get("question"), raw.get("paths") or [], raw.get("text")
        if not isinstance(question, str) or not question.strip():
            raise InputError("question: a text that is not empty")
        if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
            raise InputError("paths: a list of texts")
        if len(paths) > MOST_PATHS:
            raise InputError(f"paths: at most {MOST_PATHS}; name a folder instead")
        if text is not None and not isinstance(text, str):
            raise InputError("text: a text")
        limits = {name: value for name, value in raw.items() if name not in ("question", "paths", "text")}
        return cls(question, tuple(paths), text, limits)


def definition(settings: Settings, folders: Sequence[Path]) -> types.Tool:
    """What clients are told of the tool."""
    properties = {
        "question": _WORDS,
        "paths": {"type": "array", "items": _WORDS},
        "text": _WORDS,
        **ceilings.schema(settings),
    }
    return types.Tool(
        name=NAME,
        title="Ask documents",
        description=render("ask_documents", roots=[str(folder) for folder in folders]),
        input_schema={
            "type": "object",
            "properties": properties,
            "required": ["question"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "properties": {"answer": _WORDS, **{name: {} for name in TOLD}},
            "required": ["answer", *TOLD],
        },
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=True, idempotent_hint=False),
    )


def uri_of(run_id: str) -> str:
    return f"rlm://runs/{run_id}"


def answered(result: RunResult) -> types.CallToolResult:
    """The answer, or the best draft with why it is one, with a link to the run; an error if the run failed."""
    if result.error is not None:
        return failed(f"{result.error.type}: {result.error.message} (run {result.run_id})")
    content: list[types.ContentBlock] = [types.TextContent(text=result.answer)]
    if result.stop_reason != "answered":
        content.append(types.TextContent(text=f"[a draft: the run was stopped by {result.stop_reason}]"))
    link = types.ResourceLink(name=result.run_id, uri=uri_of(result.run_id), mime_type="application/json")
    structured = {"answer": result.answer, **about(result)}
    return types.CallToolResult(content=[*content, link], structured_content=structured)


def failed(message: str) -> types.CallToolResult:
    """An error that the client's model can read, and act upon."""
    return types.CallToolResult(content=[types.TextContent(text=message)], is_error=True)
