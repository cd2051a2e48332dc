"""One sub-call, with as many requests as it takes: tools that the sub-LLM calls, a reply that has to fit a schema.

Each request but the first reserves its own room in the ledger; the first comes with the place that the
scheduler got. Tools run here on the host; what they return goes to the sub-LLM alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlm.budget import Ledger, Reservation, Shortage
from rlm.calls.outcome import CallFailed, Reply, Spent
from rlm.calls.request import Request
from rlm.calls.toolcalls import ToolCall, calling, returned, tool_calls
from rlm.errors import BadReply, ModelError, attempts_of
from rlm.estimate import message_tokens
from rlm.events import Event
from rlm.past import PastCall
from rlm.prompts import render
from rlm.protocols import Completion, Emit, Message, Model, SubTools, Tokens, ToolOutput


class SubAgent:
    """Answers one request. Used once."""

    def __init__(
        self,
        request: Request,
        model: Model,
        place: Reservation,
        *,
        ledger: Ledger,
        spent: Spent,
        tools: SubTools | None,
        max_turns: int,
        emit: Emit,
        past: PastCall | None = None,
    ) -> None:
        self._options = request.options
        self._messages: list[Message] = list(request.messages)
        spent.messages = self._messages
        self._model = model
        self._place: Reservation | None = place
        self._ledger = ledger
        self._spent = spent
        self._tools = tools if request.options.tools else None
        self._max_turns = max_turns
        self._emit = emit
        self._past = past or PastCall()
        self._turns = 0
        self._told = 0
        """Replies from the record that are yet to be taken up."""
        self._tool_calls = 0
        if self._options.shape:
            self._say(render("shape", schema=json.dumps(self._options.shape.wrapped, ensure_ascii=False)))

    async def answer(self) -> Reply:
        """Raises `CallFailed` and `ModelError`."""
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._answer()
        except TimeoutError:
            raise CallFailed("timeout", f"no answer within {self._options.timeout:g} s") from None

    async def _answer(self) -> Reply:
        completion = await (self._with_tools(self._tools) if self._tools else self._ask(self._final_params()))
        shape = self._options.shape
        if shape is None:
            return self._reply(completion)
        fit = shape.read(completion.text)
        if fit.complaint:
            self._tell_of(completion)
            # A reply may be empty, which no endpoint takes back.
            self._messages.append({"role": "assistant", "content": completion.text or "(nothing)"})
            self._messages.append({"role": "user", "content": render("repair", complaint=fit.complaint)})
            completion = await self._ask(self._final_params())
            fit = shape.read(completion.text)
        if fit.complaint:
            raise CallFailed("invalid", f"the reply does not fit the schema: {fit.complaint}", completion.text)
        return self._reply(completion, data=fit.data)

    async def _with_tools(self, tools: SubTools) -> Completion:
        """Turns with tools, until a reply calls none; the last turn has none to call."""
        while True:
            last = self._turns + 1 >= self._max_turns
            if last and self._turns:
                self._say(render("sub_last_turn"))
            if last:
                completion = await self._without_tools(tools)
                if completion.tool_calls and not completion.text.strip():
                    raise CallFailed("invalid", f"no answer after {self._turns} turns, only calls of tools")
                return completion
            completion = await self._ask({"tools": tools.definitions})
            calls = tool_calls(completion, self._turns, [each["function"]["name"] for each in tools.definitions])
            if not calls:
                return completion
            await self._call_tools(tools, calls, completion)

    async def _without_tools(self, tools: SubTools) -> Completion:
        try:
            return await self._ask(self._final_params())
        except BadReply as error:
            # Some endpoints want the tools to be there where a conversation has calls of them.
            if not self._tool_calls or "tool" not in str(error).lower():
                raise
            return await self._ask({**self._final_params(), "tools": tools.definitions, "tool_choice": "none"})

    def _final_params(self) -> dict[str, Any]:
        return {"response_format": self._options.shape.response_format} if self._options.shape else {}

    async def _call_tools(self, tools: SubTools, calls: list[ToolCall], completion: Completion) -> None:
        self._tell_of(completion)
        self._tool_calls += len(calls)
        self._messages.append(calling(calls, completion))
        outputs = await asyncio.gather(*(self._call_tool(tools, call) for call in calls))
        self._messages += map(returned, calls, outputs)

    async def _call_tool(self, tools: SubTools, call: ToolCall) -> ToolOutput:
        if (done := self._past.tool(call.name, call.arguments)) is not None:
            return ToolOutput(done["output"], done["failed"], done["seconds"])
        output = await tools.call(call.name, call.arguments)
        self._emit(
            "tool.completed",
            name=call.name,
            arguments=call.arguments,
            output=output.text,
            failed=output.failed,
            seconds=output.seconds,
        )
        return output

    async def _ask(self, params: Mapping[str, Any]) -> Completion:
        """One request; its reply is the record's, if it is there."""
        self._turns += 1
        if self._past.replies:
            return self._recalled(self._past.replies.popleft())
        place, self._place = self._place or await self._reserve(), None
        return await ask(
            self._model,
            self._messages,
            place,
            self._spent,
            max_tokens=self._options.max_tokens,
            params={**self._options.params, **params},
        )

    def _recalled(self, event: Event) -> Completion:
        tokens = Tokens(event["input_tokens"], event["output_tokens"], estimated=event["estimated"])
        self._spent.add(tokens, event["attempts"])
        self._told += 1
        return Completion(
            event["text"],
            tokens,
            event["model"],
            event["finish_reason"],
            event["attempts"],
            tuple(event["tool_calls"]),
        )

    def _tell_of(self, completion: Completion) -> None:
        """Have a reply on record that another request follows."""
        if self._told:
            self._told -= 1
            return
        self._emit(
            "call.replied",
            text=completion.text,
            tool_calls=list(completion.tool_calls),
            finish_reason=completion.finish_reason,
            model=completion.model,
            input_tokens=completion.tokens.input,
            output_tokens=completion.tokens.output,
            estimated=completion.tokens.estimated,
            attempts=completion.attempts,
        )

    async def _reserve(self) -> Reservation:
        tokens = message_tokens(self._messages)
        if (window := self._model.context_window) is not None and tokens + self._options.max_tokens > window:
            raise CallFailed("too_long", f"after {self._turns - 1} turns, about {tokens:,} tokens do not fit the model")
        while True:
            place = self._ledger.reserve("sub", self._model.name, tokens, self._options.max_tokens, counted=False)
            if not isinstance(place, Shortage):
                return place
            if not place.temporary:
                raise CallFailed("budget", f"after {self._turns - 1} turns: {place.message}")
            await self._ledger.given_back()

    def _say(self, text: str) -> None:
        """Add to what the sub-LLM is told last; two messages of a user in a row are one."""
        last = self._messages[-1]
        if last["role"] != "user":
            self._messages.append({"role": "user", "content": text})
        elif isinstance(last["content"], str):
            self._messages[-1] = {"role": "user", "content": "\n\n".join([last["content"], text])}
        else:
            self._messages[-1] = {"role": "user", "content": [*last["content"], {"type": "text", "text": text}]}

    def _reply(self, completion: Completion, **extra: Any) -> Reply:
        if self._tools:
            extra |= {"turns": self._turns, "tool_calls": self._tool_calls}
        return Reply(completion.text, completion.model, extra)


async def ask(
    model: Model,
    messages: Sequence[Message],
    place: Reservation,
    spent: Spent,
    *,
    max_tokens: int | None,
    timeout: float | None = None,
    params: Mapping[str, Any] | None = None,
) -> Completion:
    """One request, whose place is settled however it ends. Raises `ModelError`."""
    try:
        completion = await model.complete(messages, max_tokens=max_tokens, timeout=timeout, params=params)
    except (ModelError, asyncio.CancelledError) as error:
        attempts = attempts_of(error)
        spent.attempts += attempts
        if attempts:
            place.fail(attempts=attempts)
        else:
            place.release()
        raise
    except BaseException:
        spent.attempts += 1
        place.fail()
        raise
    spent.add(completion.tokens, completion.attempts)
    place.settle(completion.tokens, attempts=completion.attempts)
    return completion
