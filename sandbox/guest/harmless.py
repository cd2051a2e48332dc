"""Whether what a loop calls besides `llm_query` only computes. None of it is run here: that is the loop's to do."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from guest import textre
from guest.loopcheck import Refused, Survey
from guest.purecalls import known
from guest.purefunctions import source, surroundings
from guest.purevalues import CHANGEABLE, SCALARS, SIZED, Doubtful, kind_of
from guest.results import CallError, CallResult

READABLE = SIZED | SCALARS | CHANGEABLE | {CallError, re.Pattern, textre.TextPattern}
IN_RE = frozenset({"escape", "findall", "finditer", "fullmatch", "match", "search", "split", "sub"})


def check(survey: Survey, names: dict[str, Any]) -> None:
    """Raises `Doubtful` unless everything that the surveyed code calls is known. `names` are those from outside."""
    _check(survey, names.__getitem__, set())


def _check(survey: Survey, look: Callable[[str], Any], seen: set[CodeType]) -> None:
    bound = survey.targets | survey.assigned
    values = {}
    for name in survey.read - bound:
        try:
            values[name] = look(name)
        except (KeyError, NameError):
            # Of a comprehension within, or an error that the loop itself is to raise.
            continue
        if callable(values[name]) and not _harmless(values[name], seen):
            raise Doubtful(f"{name} may do anything")
    if missing := survey.called - values.keys():
        raise Doubtful(f"what {missing} are")
    for name, attr in survey.methods:
        if name in values and not _readable(values[name], attr):
            raise Doubtful(f"{name}.{attr} may do anything")


def _readable(value: Any, attr: str) -> bool:
    """Whether its method of this name, or those of what it holds, only compute."""
    if type(value) is not ModuleType:
        return kind_of(value) in READABLE
    if value is re or value is textre.module:
        return attr in IN_RE
    return bool(known(vars(value).get(attr))) if attr else value is os


def _harmless(function: Any, seen: set[CodeType]) -> bool:
    if known(function) or function is print or function is CallError or function is CallResult:
        return True
    if type(function) is type:
        return issubclass(function, BaseException) and function.__module__ == "builtins"
    if type(function) is not FunctionType:
        return False
    if function.__code__ in seen:
        return True
    seen.add(function.__code__)
    node = source(function.__code__)
    survey = Survey(function=True)
    survey.targets |= {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
    try:
        if isinstance(node, ast.Lambda):
            survey.expression(node.body)
        else:
            survey.body(node.body)
    except Refused:
        return False
    if survey.changed - survey.fresh:
        return False
    _check(survey, surroundings(function, frozenset()), seen)
    return True
