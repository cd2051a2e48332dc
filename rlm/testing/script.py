"""Which reply comes next: scripts keyed by model, consumed in order, by turn, or computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlm.testing.replies import Fault, Reply


@dataclass(frozen=True, slots=True)
class ScriptedRequest:
    """One request as the server received it."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    """As chat messages, whichever API they came through."""
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""
    index: int
    """How many requests for this model came before."""
    api: Literal["chat", "responses"] = "chat"

    @property
    def turn(self) -> int:
        """How many assistant messages the conversation already holds: 0 on the first turn."""
        return sum(message.get("role") == "assistant" for message in self.messages)

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        return message_text(self.messages[-1]) if self.messages else ""

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


Plain = str | Mapping[str, Any] | Reply | Fault
Computed = Callable[[ScriptedRequest], Plain | Awaitable[Plain]]


class Turns(tuple[Plain, ...]):
    """Replies chosen by the turn of the conversation, not by the order of requests.

    `Turns(["first", "second"])` serves any number of conversations at once, and a retried request
    gets the same reply again. Past the end the last reply repeats.
    """


Script = Plain | Sequence[Plain] | Turns | Computed
Replies = Script | Mapping[str, Script]


class UnknownModel(Exception):
    """The script has no entry for the model; the server answers 404."""


class ScriptBook:
    """Chooses the reply to each request. Used from the server's thread only."""

    def __init__(self, replies: Replies) -> None:
        if isinstance(replies, Mapping) and not _is_reply_dict(replies):
            self._scripts: dict[str, Script] = dict(replies)
        else:
            self._scripts = {"*": replies}
        for script in self._scripts.values():
            _check(script)
        self._used: Counter[str] = Counter()

    @property
    def models(self) -> list[str]:
        """The model names of the script; `scripted` stands for "any"."""
        return [name if name != "*" else "scripted" for name in self._scripts]

    async def choose(self, request: ScriptedRequest) -> Reply | Fault:
        """Raises `UnknownModel`, or whatever a computed reply raises."""
        key = request.model if request.model in self._scripts else "*"
        if key not in self._scripts:
            raise UnknownModel(request.model)
        script = self._scripts[key]
        if isinstance(script, Turns):
            return as_reply(script[min(request.turn, len(script) - 1)])
        if isinstance(script, (str, Mapping, Reply, Fault)):
            return as_reply(script)
        if callable(script):
            outcome = script(request)
            return as_reply(await outcome if isinstance(outcome, Awaitable) else outcome)
        position = self._used[key]
        self._used[key] += 1
        return as_reply(script[min(position, len(script) - 1)])


def as_reply(plain: Plain) -> Reply | Fault:
    """Raises `TypeError` for what no server can send."""
    if isinstance(plain, (Reply, Fault)):
        return plain
    if isinstance(plain, str):
        return Reply(text=plain)
    if isinstance(plain, Mapping):
        return Reply(**plain)
    raise TypeError(f"a reply must be a str, a dict, a Reply or a Fault, not {type(plain).__name__}")


def message_text(message: Mapping[str, Any]) -> str:
    """The text of a chat message, its parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def _is_reply_dict(value: Mapping[str, Any]) -> bool:
    return "text" in value or "tool_calls" in value


def _check(script: Script) -> None:
    if isinstance(script, (str, Mapping, Reply, Fault)):
        as_reply(script)
    elif not callable(script):
        if not script:
            raise ValueError("a list of replies must not be empty")
        for plain in script:
            as_reply(plain)
