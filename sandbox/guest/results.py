"""What a sub-call comes to: a reply, data, or a typed error."""

from __future__ import annotations

from typing import Any

Item = dict[str, Any]


class CallResult(str):
    """A reply: a `str` that also knows how it came about.

    .model, .usage    who replied, and {"input_tokens", "output_tokens"} (of a child: with all that it called)
    .cached           whether it was remembered, and cost nothing
    .depth_limited    whether an rlm_query was answered by a plain call, since the depth limit was reached
    .ready, .stop_reason, .turns    of a child: whether it declared its answer final, why it ended, its turns
    """

    model: str
    usage: dict[str, int]
    cached: bool
    depth_limited: bool
    ready: bool
    stop_reason: str
    turns: int

    @classmethod
    def make(cls, item: Item) -> CallResult:
        result = cls(item.get("text", ""))
        result.model = item.get("model", "")
        result.usage = {"input_tokens": item.get("input_tokens", 0), "output_tokens": item.get("output_tokens", 0)}
        result.cached = bool(item.get("cached"))
        result.depth_limited = bool(item.get("depth_limited"))
        result.ready = bool(item.get("ready", True))
        result.stop_reason = item.get("stop_reason", "")
        result.turns = item.get("turns", 1)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


class CallError:
    """A sub-call without a reply. Falsy, and not a `str`: it cannot be taken for an answer.

    `.kind` is one of budget, too_long, timeout, endpoint, auth, cancelled, invalid; `.message` says
    what to do. `.text` is a reply that came but was not what was asked for (a schema that it did not fit).
    """

    def __init__(self, kind: str, message: str, text: str = "") -> None:
        self.kind = kind
        self.message = message
        self.text = text

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"CallError(kind={self.kind!r}, message={self.message!r})"


class Data:
    """Data that came for a schema, on its way to who asked."""

    def __init__(self, value: Any, text: str) -> None:
        self.value = value
        self.text = text


class SubCallError(Exception):
    """Raised by `strict=True` after the whole batch has settled; `.results` holds every outcome."""

    def __init__(self, results: list[Any]) -> None:
        errors = [r for r in results if isinstance(r, CallError)]
        super().__init__(f"{len(errors)} of {len(results)} sub-calls failed, the first with {errors[0]!r}")
        self.results = results


def outcome(item: Item) -> CallResult | CallError | Data:
    """What the host says about one prompt."""
    error = item.get("error")
    if error:
        return CallError(error["kind"], error["message"], error.get("text", ""))
    return Data(item["data"], item.get("text", "")) if "data" in item else CallResult.make(item)
