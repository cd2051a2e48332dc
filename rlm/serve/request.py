"""The body of a request for a completion: what of it counts, what is refused, and what is ignored.

Refused is what could not be ignored without giving the client something other than it asked for; parameters of
sampling and of accounts are ignored, and so is all that is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlm.config import Settings
from rlm.errors import ConfigError
from rlm.serve.conversation import Asked, asked
from rlm.serve.failures import ApiError, invalid
from rlm.serve.messages import read_messages
from rlm.serve.options import ServeOptions
from rlm.service.ceilings import lowered

OWN = "rlm"
"""The key of a body that holds what only this server knows."""
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([], ""),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
}
"""Parameters that are refused, with the values that mean nothing; None is always one of them."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request that can be carried out."""

    model: str
    asked: Asked
    settings: Settings
    stream: bool
    include_usage: bool
    """Whether the stream is to end with a chunk about usage."""
    progress: bool
    """Whether the stream is to tell what the run is at."""


def read_request(body: bytes, settings: Settings, options: ServeOptions) -> ChatRequest:
    """Check a body in full. Takes a while for a large one. Raises `ApiError`."""
    raw = _parsed(body)
    model = raw.get("model")
    if not isinstance(model, str):
        raise invalid("model: a text", "model")
    if model != options.name:
        there_is = f"there is no model of this name; there is {options.name!r}"
        raise ApiError(404, there_is, param="model", code="model_not_found")
    for name, harmless in _REFUSED.items():
        value = raw.get(name)
        if value is not None and not any(value == each and type(value) is type(each) for each in harmless):
            raise invalid(f"{name}: not supported by this model", name, "unsupported_parameter")
    stream = _flag(raw, "stream")
    stream_options = raw.get("stream_options") or {}
    if not isinstance(stream_options, Mapping):
        raise invalid("stream_options: an object", "stream_options")
    own = raw.get(OWN) or {}
    if not isinstance(own, Mapping):
        raise invalid(f"{OWN}: an object", OWN)
    limits = {name: value for name, value in own.items() if name != "progress"}
    question = asked(read_messages(raw.get("messages"), max_file=options.max_file), long_message=options.long_message)
    try:
        allowed = lowered(settings, limits)
    except ConfigError as error:
        raise invalid(f"{OWN}.{error}", OWN) from None
    return ChatRequest(
        model=model,
        asked=question,
        settings=allowed,
        stream=stream,
        include_usage=stream and _flag(stream_options, "include_usage", "stream_options."),
        progress=_flag(own, "progress", f"{OWN}."),
    )


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):  # a number of thousands of digits, or brackets without an end
        raise invalid("the body is not JSON") from None
    if not isinstance(raw, Mapping):
        raise invalid("the body is not a JSON object")
    return raw


def _flag(raw: Mapping[str, Any], name: str, where: str = "") -> bool:
    value = raw.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{where}{name}: true or false", f"{where}{name}")
    return bool(value)
