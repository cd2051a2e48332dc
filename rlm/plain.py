"""A run without a REPL: one conversation with the root model, the input in the prompt and tools as native calls."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Literal

from rlm.budget import Ledger, Reservation
from rlm.calls.outcome import Spent, cached_input
from rlm.calls.subagent import ask
from rlm.calls.toolcalls import ToolCall, calling, returned, tool_calls
from rlm.config import Settings
from rlm.estimate import message_tokens
from rlm.events import ROOT
from rlm.loop import Outcome
from rlm.prompts import render
from rlm.protocols import Completion, Emit, Message, Model
from rlm.result import StopReason
from rlm.root import MAX_OUTPUT, MIN_OUTPUT, output_caps, without_caps
from rlm.route import answer_of
from rlm.tools import Toolbox


class PlainChat:
    """One question to one model. Used once."""

    def __init__(
        self, prompt: str, *, model: Model, ledger: Ledger, settings: Settings, toolbox: Toolbox, emit: Emit
    ) -> None:
        self._messages: list[Message] = [{"role": "user", "content": prompt}]
        self._model = model
        self._ledger = ledger
        self._settings = settings
        self._toolbox = toolbox
        self._emit = emit
        self._told = 0
        """How many messages the events have already."""
        self._turns = 0
        self._text = ""

    async def run(self) -> Outcome:
        """Raises `ModelError`."""
        try:
            async with asyncio.timeout(max(0.0, self._ledger.deadline - time.monotonic())):
                return self.outcome(await self._talk())
        except TimeoutError:
            return self.outcome("timeout")

    def outcome(self, reason: StopReason, error: BaseException | None = None) -> Outcome:
        """As it stands."""
        ready = reason == "answered"
        return Outcome(answer_of(self._text), ready, reason, self._turns, error)

    async def _talk(self) -> StopReason:
        names = [each["function"]["name"] for each in self._toolbox.definitions]
        while True:
            last = self._turns + 1 >= self._settings.max_turns
            if last and self._turns:
                self._messages.append({"role": "user", "content": render("sub_last_turn")})
            completion = await self._ask(with_tools=bool(names) and not last)
            if not isinstance(completion, Completion):
                return completion
            calls = tool_calls(completion, self._turns, names) if names else []
            if not calls:
                self._text = completion.text
                return "answered"
            if last:
                return "max_turns"
            await self._call_tools(calls, completion)

    async def _ask(self, *, with_tools: bool) -> Completion | Literal["max_tokens", "max_cost"]:
        """One request, or the limit that leaves no room for it."""
        place, cap, limit = self._reserve()
        if place is None:
            return limit
        turn, begun, spent = self._turns + 1, time.monotonic(), Spent()
        self._emit("turn.started", rollout=ROOT, turn=turn, max_turns=self._settings.max_turns)
        new = self._messages[self._told :]
        self._emit("root.requested", rollout=ROOT, turn=turn, last=None, max_tokens=cap, kept=self._told, messages=new)
        self._told = len(self._messages)
        params = without_caps(self._settings.root_params)
        if with_tools:
            params["tools"] = self._toolbox.definitions
        timeout = self._settings.request_timeout
        completion = await ask(
            self._model, self._messages, place, spent, max_tokens=cap, timeout=timeout, params=params
        )
        self._turns = turn
        self._emit(
            "root.completed",
            rollout=ROOT,
            turn=turn,
            text=completion.text,
            code=None,
            tool_call=None,
            broken=None,
            plain=True,
            model=self._model.name,
            input_tokens=completion.tokens.input,
            output_tokens=completion.tokens.output,
            estimated=completion.tokens.estimated,
            **cached_input(completion.tokens.cached_input),
            seconds=time.monotonic() - begun,
            attempts=completion.attempts,
        )
        return completion

    def _reserve(self) -> tuple[Reservation | None, int | None, Literal["max_tokens", "max_cost"]]:
        """Room for a request, and the cap on its reply, if it has one; no room, and the limit that says so."""
        name, estimate = self._model.name, message_tokens(self._messages)
        caps = output_caps(self._settings.root_params)
        limit: Literal["max_tokens", "max_cost"] = "max_tokens"
        if (room := self._ledger.room(name, estimate)) is not None:
            limit = "max_cost" if room[1] == "max_cost" else "max_tokens"
            if room[0] < min([*caps, MIN_OUTPUT]):
                return None, None, limit
            caps += [room[0], MAX_OUTPUT]
        # Without a limit the endpoint decides: it knows how much its window leaves.
        cap = min(caps, default=None)
        place = self._ledger.reserve("root", name, estimate, cap or 0)
        return (place if isinstance(place, Reservation) else None), cap, limit

    async def _call_tools(self, calls: list[ToolCall], completion: Completion) -> None:
        self._messages.append(calling(calls, completion))
        outputs = await asyncio.gather(*(self._toolbox.call(call.name, call.arguments) for call in calls))
        for call, output in zip(calls, outputs, strict=True):
            self._emit(
                "function.completed",
                rollout=ROOT,
                name=call.name,
                args=[],
                kwargs=_arguments(call),
                result=output.text,
                failed=output.text if output.failed else None,
                seconds=output.seconds,
            )
            self._messages.append(returned(call, output))


def _arguments(call: ToolCall) -> dict[str, Any]:
    arguments: dict[str, Any] = json.loads(call.message()["function"]["arguments"])
    return arguments
