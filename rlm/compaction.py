"""Keeps a long conversation within its model's window: older turns become a handover that the model writes.

It is the one exception to a conversation that only grows. What stands before the cut (the system prompt
with its limits, the question) stays byte for byte, so do the latest turns, and the kernel is not touched;
all that was said stays in `history` there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rlm.budget import Ledger, Shortage
from rlm.calls.outcome import Spent, cached_input
from rlm.calls.subagent import ask
from rlm.conversation import Conversation, Turns, python_tool
from rlm.errors import ModelError
from rlm.estimate import message_tokens
from rlm.events import Event
from rlm.prompts import render
from rlm.protocols import Emit, Model
from rlm.root import Role

KEEP_TURNS = 2
"""The latest turns, which stay as they are; fewer if they alone fill a good part of the window."""
KEEP_SHARE = 0.4
"""Share of the window that they may take."""
MAX_OUTPUT = 2048
"""Tokens of a handover."""
MAX_FAILURES = 2
"""In a row; then nothing more is tried unless the endpoint itself refuses the prompt."""


class Compactor:
    """Watches over one conversation."""

    def __init__(
        self, model: Model, ledger: Ledger, *, role: Role, compact_at: float, native_tools: bool, emit: Emit
    ) -> None:
        """`compact_at` is a share of the model's window; 0, or a window that is not known: only when forced."""
        self._model = model
        self._ledger = ledger
        self._role = role
        self._limit = compact_at * (model.context_window or 0)
        self._off = not compact_at
        self._native_tools = native_tools
        self._emit = emit
        self._failures = 0

    async def keep_within(self, talk: Conversation) -> None:
        """Compact if the next request would pass the limit; a failure is told, and the conversation stays."""
        if not self._limit or talk.window_tokens() <= self._limit or self._failures >= MAX_FAILURES:
            return
        await self._try(talk)

    async def after_refusal(self, talk: Conversation) -> bool:
        """The endpoint says that the prompt is too long: compact whatever is known of the window. Whether it did."""
        return not self._off and await self._try(talk)

    def recall(self, talk: Conversation, event: Event) -> None:
        """Hand over as the record says."""
        turns = Turns(event["first_turn"], event["last_turn"])
        talk.hand_over(turns, event["handover"].strip(), _handed_over(turns))

    async def _try(self, talk: Conversation) -> bool:
        older = talk.older_turns(KEEP_TURNS, most=int(KEEP_SHARE * (self._model.context_window or 1 << 30)))
        if not older:
            return False
        asked = talk.asking_about(older, render("handover"))
        estimate = message_tokens(asked)
        place = self._ledger.reserve(self._role.kind, self._model.name, estimate, MAX_OUTPUT, counted=False)
        if isinstance(place, Shortage):
            self._failures += 1
            self._emit("notice", text=f"no room to sum up older turns: {place.message}")
            return False
        begun, before, spent = time.monotonic(), talk.input_tokens(), Spent()
        try:
            completion = await ask(self._model, asked, place, spent, max_tokens=MAX_OUTPUT, params=self._params())
        except ModelError as error:
            self._failures += 1
            self._emit("notice", text=f"older turns could not be summed up: {error}")
            return False
        done = bool(completion.text.strip())
        self._failures = 0 if done else self._failures + 1
        first, last = older
        if done:
            talk.hand_over(older, completion.text.strip(), _handed_over(older))
        self._emit(
            "compaction.completed",
            first_turn=first,
            last_turn=last,
            model=self._model.name,
            kept=len(asked) - 1,
            messages=asked[-1:],
            handover=completion.text,
            done=done,
            tokens_before=before,
            tokens_after=talk.input_tokens(),
            input_tokens=spent.input,
            output_tokens=spent.output,
            estimated=spent.estimated,
            **cached_input(spent.cached_input),
            seconds=time.monotonic() - begun,
            attempts=spent.attempts,
        )
        return done

    def _params(self) -> Mapping[str, Any]:
        params = {name: value for name, value in self._role.params.items() if name not in ("stop", "max_tokens")}
        # The same tools as ever, so that the endpoint finds the prompt in its cache; none is to be called.
        return {**params, "tools": [python_tool()], "tool_choice": "none"} if self._native_tools else params


def _handed_over(turns: Turns) -> str:
    return render("handed_over", first=turns.first, last=turns.last)
