"""Whether a run needs the machinery at all: a short input may as well stand in the prompt of one plain call.

An RLM takes several requests, each with a long system prompt; a plain call takes one, with the input in it. Below
`route_chars` the plain call is cheaper and quicker, and models read that much well (see docs/evals.md).
"""

from __future__ import annotations

from typing import Literal

from rlm.config import Settings
from rlm.context import PreparedInput
from rlm.context.paste import pasted
from rlm.errors import PromptTooLong
from rlm.prompts import render

Route = Literal["rlm", "llm"]

ASSUMED_WINDOW = 8192
"""Tokens, of a model whose window is not known."""
CHARS_PER_TOKEN = 3
"""Cautious, as what does not fit is refused."""
MAX_PASTED = 64 << 20
"""Characters: no model reads more, so not even the attempt is made."""


def plain_prompt(
    settings: Settings, question: str, prepared: PreparedInput, *, window: int | None, max_output: int
) -> str | None:
    """The prompt of a plain call; None if the run is to be an RLM's. Blocks.

    `window` is the model's in tokens, if it is known, of which the reply needs `max_output`. Raises `PromptTooLong`
    where a plain call was asked for and cannot be.
    """
    has_tools = bool(settings.tools or settings.mcp)
    if settings.route == "rlm" or (settings.route == "auto" and (has_tools or settings.functions)):
        return None
    window_chars = (window - max_output) * CHARS_PER_TOKEN if window else None
    limit = MAX_PASTED
    if settings.route == "auto":
        assumed = ASSUMED_WINDOW - min(max_output, ASSUMED_WINDOW // 2)
        fits = assumed * CHARS_PER_TOKEN if window_chars is None else window_chars
        limit = min(settings.route_chars, fits - len(question))
    texts = pasted(prepared.items, limit) if limit > 0 else None
    if texts is None:
        if settings.route == "auto":
            return None
        raise PromptTooLong("the input cannot be pasted into a prompt: it is too large, or not text", attempts=0)
    note = render("cite", plain=True) if settings.cite else ""
    return render("plain", question=question, texts=texts, note=note, tools=has_tools, max_turns=settings.max_turns)


def answer_of(reply: str) -> str:
    """What stands between the tags, the first opening and the last closing one; the whole reply without them.

    Nothing else is touched but one line break on either side: the answer may be a text that must stay as it is.
    """
    _, opened, rest = reply.partition("<answer>")
    if not opened:
        return reply.strip()
    answer, closed, _ = rest.rpartition("</answer>")
    return (answer if closed else rest).removeprefix("\n").removesuffix("\n")
