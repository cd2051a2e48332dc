"""The messages between the run and its root model: they only grow, but for older turns that are handed over."""

from __future__ import annotations

from typing import Any, NamedTuple

from rlm.estimate import message_tokens
from rlm.prompts import render
from rlm.protocols import Message, Tokens
from rlm.reply import Reply

FACTORS = (0.5, 4.0)
"""How far off an estimate of tokens may be before the endpoint's figure is not believed."""


class Turns(NamedTuple):
    """A range of turns, counted from 1 as the model's replies are, both ends included."""

    first: int
    last: int


class Conversation:
    """What was said, and what is to be said with the next request.

    The messages are the system prompt, the question, and then pairs: a reply, and what it was told.
    """

    def __init__(self, system: str) -> None:
        self._messages: list[Message] = [{"role": "system", "content": system}]
        self._unsent: list[str] = []
        self._turns: list[Turns] = []
        """The turns that each reply among the messages stands for."""
        self._factor = 1.0

    def say(self, text: str) -> None:
        """Add to what the model is told with the next request; the same thing twice in a row is said once."""
        if self._unsent[-1:] != [text]:
            self._unsent.append(text)

    def request(self) -> list[Message]:
        """The messages of the next request."""
        return [*self._messages, self._next()]

    def input_tokens(self) -> int:
        """The estimated size of the next request."""
        return message_tokens(self.request())

    def window_tokens(self) -> int:
        """The size of the next request, by what the endpoint said of the last one."""
        return int(self.input_tokens() * self._factor)

    def measured(self, estimate: int, tokens: Tokens) -> None:
        """A request of this estimated size was measured by the endpoint."""
        if not tokens.estimated and estimate > 0:
            low, high = FACTORS
            self._factor = min(high, max(low, tokens.input / estimate))

    # --- older turns

    def older_turns(self, keep: int, *, most: int) -> Turns | None:
        """All turns but the last `keep`, and fewer kept if those take more than `most` tokens; None without any."""
        kept = min(keep, len(self._turns))
        while kept > 1 and message_tokens(self._messages[2 + 2 * (len(self._turns) - kept) :]) > most:
            kept -= 1
        older = self._turns[: len(self._turns) - kept]
        return Turns(older[0].first, older[-1].last) if older else None

    def asking_about(self, turns: Turns, text: str) -> list[Message]:
        """A request that says `text` after these turns, on the same prefix as ever."""
        messages = self._messages[: self._end_of(turns)]
        last = messages[-1]
        if last["role"] == "user":
            return [*messages[:-1], {"role": "user", "content": "\n\n".join([last["content"], text])}]
        return [*messages, {"role": "user", "content": text}]

    def hand_over(self, turns: Turns, handover: str, note: str) -> None:
        """Put a handover, and a word about it, in the place of these turns."""
        end = self._end_of(turns)
        pair = [{"role": "assistant", "content": handover}, {"role": "user", "content": note}]
        self._messages[2:end] = pair
        self._turns[: (end - 2) // 2] = [turns]

    def _end_of(self, turns: Turns) -> int:
        """The index of the first message after these turns."""
        return 2 + 2 * sum(1 for each in self._turns if each.last <= turns.last)

    def accept(self, reply: Reply) -> None:
        """The model answered: what was sent and what it said become part of the conversation.

        An empty reply leaves all as it was, so that roles go on to alternate.
        """
        if answer := _assistant_message(reply):
            self._messages += [self._next(), answer]
            self._unsent.clear()
            number = self._turns[-1].last + 1 if self._turns else 1
            self._turns.append(Turns(number, number))

    def restore(self, messages: list[Message]) -> None:
        """Be where a request with these messages is about to be sent."""
        *self._messages, last = messages
        self._unsent = [last["content"]]

    def _next(self) -> Message:
        """All that is to be said, as one message: endpoints want roles to alternate."""
        content = "\n\n".join(self._unsent)
        if calls := self._messages[-1].get("tool_calls"):
            return {"role": "tool", "tool_call_id": calls[0]["id"], "content": content}
        return {"role": "user", "content": content}


def python_tool() -> dict[str, Any]:
    """The REPL as a native tool."""
    code = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    return {"type": "function", "function": {"name": "python", "description": render("tool"), "parameters": code}}


def _assistant_message(reply: Reply) -> Message | None:
    if reply.tool_call is None:
        return {"role": "assistant", "content": reply.text} if reply.text.strip() else None
    call = reply.tool_call
    # Endpoints parse the arguments of earlier calls, and refuse the request if they cannot.
    arguments = "{}" if call.broken == "arguments" else call.arguments
    function = {"name": call.name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": reply.text,
        "tool_calls": [{"id": call.id, "type": "function", "function": function}],
    }
