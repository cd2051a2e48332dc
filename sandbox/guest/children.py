"""`rlm_batch` and `rlm_query`: sub-LLMs that are RLMs themselves, each with a kernel and a `context` of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from guest.batches import MAX_PROMPT, OpenBatch
from guest.bridge import Bridge
from guest.calls import raise_failures
from guest.contexts import CannotPass, Contexts, Passed
from guest.looks import look
from guest.results import CallResult
from guest.schemas import schema_of
from guest.text import Text

Limited = Callable[[], None]


class Children:
    """The recursive functions of a kernel, over its bridge."""

    def __init__(self, bridge: Bridge, contexts: Contexts, *, deeper: bool, on_limited: Limited) -> None:
        """`deeper`: whether the host lets this kernel have children; if not, a context is pasted into a plain call.

        `on_limited` is called when that has happened.
        """
        self._bridge = bridge
        self._contexts = contexts
        self._deeper = deeper
        self._on_limited = on_limited

    def rlm_batch(
        self,
        queries: Iterable[str],
        contexts: Iterable[Any] | None = None,
        *,
        returns: Any = None,
        model: str | None = None,
        max_turns: int | None = None,
        timeout: float | None = None,
        cache: bool = True,
        strict: bool = False,
    ) -> list[Any]:
        """Have each query answered by a recursive sub-LLM: a model with a Python REPL of its own, like yours.

        Child i finds contexts[i] as its `context`: a str, a slice of `context`, a list, a dict, a DataFrame …;
        it sees none of your variables. One query as a str is asked about every context. All run in parallel;
        the results come in order, each a str (with .turns, .ready, .stop_reason, .usage) or a falsy CallError.

        returns     a type, a dict of names and types, or a JSON Schema: the results are data that fits it
        max_turns   of each child
        timeout     seconds for each child

        At the depth limit a child is one plain call with the context pasted in; then .depth_limited is True.
        """
        asked = _queries(queries, contexts)
        if not asked:
            return []
        wanted = None if returns is None else schema_of(returns)
        options = {
            "recursive": True,
            "schema": wanted.json if wanted else None,
            "model": model,
            "max_turns": max_turns,
            "timeout": timeout,
            "cache": None if cache else False,
        }
        passed: list[Passed] = []
        try:
            items = [self._item(query, context, passed) for query, context in asked]
            given = {name: value for name, value in options.items() if value is not None}
            results = OpenBatch(self._bridge, items, given, build=wanted.finish if wanted else None).wait()
        finally:
            for each in passed:
                self._contexts.release(each)
        if not self._deeper or any(isinstance(result, CallResult) and result.depth_limited for result in results):
            self._on_limited()
        if strict:
            raise_failures(results)
        return results

    def rlm_query(self, query: str, context: Any = None, **options: Any) -> Any:
        """Have one query answered by a recursive sub-LLM about `context`; the options are those of rlm_batch."""
        return self.rlm_batch([query], [context], **options)[0]

    def _item(self, query: str, context: Any, passed: list[Passed]) -> dict[str, Any]:
        if not self._deeper:
            return _pasted(query, context)
        try:
            each = self._contexts.describe(context)
        except CannotPass as error:
            return {"query": query, "refused": {"kind": error.kind, "message": str(error)}}
        passed.append(each)
        return {"query": query, "context": each.descriptor, "key": each.key, "look": look(context)}


def _queries(queries: Iterable[str], contexts: Iterable[Any] | None) -> list[tuple[str, Any]]:
    """Each query with its context."""
    if isinstance(contexts, (str, bytes, dict, Text)):
        raise TypeError(
            "contexts is a list with one context for each query; for one query use rlm_query(query, context)"
        )
    given = None if contexts is None else list(contexts)
    if isinstance(queries, str):
        if given is None:
            raise TypeError("rlm_batch takes a list of queries; for one query use rlm_query(query, context)")
        return [(queries, context) for context in given]
    asked = list(queries)
    if not all(isinstance(query, str) for query in asked):
        raise TypeError("a query is a str; what it is about goes into contexts")
    if given is None:
        return [(query, None) for query in asked]
    if len(given) != len(asked):
        raise ValueError(f"{len(asked)} queries and {len(given)} contexts: there must be one for each")
    return list(zip(asked, given, strict=True))


def _pasted(query: str, context: Any) -> dict[str, Any]:
    if context is None:
        return {"query": query}
    size = context.last - context.first if isinstance(context, Text) else 0
    text = "" if size > MAX_PROMPT else _text(context)
    if max(size, len(text)) > MAX_PROMPT // 4:
        message = f"a context of {max(size, len(text)):,} does not fit a plain call, and the depth limit is reached"
        return {"query": query, "refused": {"kind": "too_long", "message": message}}
    return {"query": query, "pasted": text}


def _text(context: Any) -> str:
    """A context as text for a model to read."""
    if isinstance(context, (str, Text)):
        return str(context)
    if hasattr(context, "to_csv"):
        return str(context.to_csv())
    try:
        return json.dumps(context, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(context)
