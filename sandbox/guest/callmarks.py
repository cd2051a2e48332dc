"""What tells one call of `llm_query` from another, and a copy of it that stays as it is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from json import dumps, loads
from types import GenericAlias, UnionType
from typing import Any

from guest.media import KINDS
from guest.purevalues import SCALARS, TEXTS, Caution, Doubtful, kind_of

Prompt = tuple[type, str]
"""Whether it is a str, and its text or its JSON."""


def mark_prompt(prompt: Any, caution: Caution) -> Prompt:
    """Raises `Doubtful`, or `TypeError` for what is no JSON."""
    if kind_of(prompt) in TEXTS:
        return (str, str.__str__(prompt))
    caution.make(caution.plain(prompt))
    if kind_of(prompt) is dict and not KINDS.keys().isdisjoint(prompt):
        raise Doubtful("files are read when they are sent")
    return (type(prompt), dumps(prompt))


def copy_prompt(mark: Prompt) -> Any:
    return mark[1] if mark[0] is str else loads(mark[1])


def mark_options(options: Mapping[str, Any], caution: Caution) -> Hashable:
    """Raises `Doubtful`. The schema may be made of classes, which are told by identity: keep them."""
    for name, value in options.items():
        if name in KINDS:
            raise Doubtful("files are read when they are sent")
        if name != "schema":
            caution.plain(value)
    return tuple((name, _mark(value, caution)) for name, value in options.items())


def copy_options(value: Any) -> Any:
    """A copy of the containers, down to what does not change."""
    if type(value) is dict:
        return {name: copy_options(each) for name, each in value.items()}
    return type(value)(map(copy_options, value)) if type(value) in (list, tuple) else value


def _mark(value: Any, caution: Caution) -> Hashable:
    caution.step()
    caution.touch(value)
    kind = kind_of(value)
    if kind in SCALARS:
        return (kind, value)
    if kind is dict:
        return (kind, *(_mark(part, caution) for pair in value.items() for part in pair))
    if kind is list or kind is tuple:
        return (kind, *(_mark(part, caution) for part in value))
    if kind is GenericAlias:
        return (kind, id(value.__origin__), _mark(value.__args__, caution))
    return (kind, _mark(value.__args__, caution)) if kind is UnionType else id(value)
