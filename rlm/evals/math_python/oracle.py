"""Scripted models that solve problems from their texts: one with a program, the others with what they know by heart."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

from rlm.evals.math_python.families import FAMILIES, Family
from rlm.evals.math_python.solvers import SOLVERS
from rlm.evals.textkit import cell, told
from rlm.testing import ScriptedRequest


def problem(messages: str) -> tuple[Family, Mapping[str, int]] | None:
    """The problem that a text states, and its numbers."""
    for family in FAMILIES:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>-?\\d+)", re.escape(family.text))
        if found := re.search(pattern, messages):
            return family, {name: int(value) for name, value in found.groupdict().items()}
    return None


def root(request: ScriptedRequest) -> str:
    """Writes a program and looks at what it prints; then answers with that."""
    found = problem(told(request))
    if found is None:
        return cell("answer['content'] = 'I do not know this kind of problem.'\nanswer['ready'] = True")
    family, numbers = found
    solver = SOLVERS[family.name]
    if request.turn == 0:
        start = "from __future__ import annotations\nimport itertools\nfrom fractions import Fraction\n\n"
        call = f"value = {solver.__name__}(**{dict(numbers)!r})\nprint(value)\nanswer['content'] = str(value)"
        return cell(f"{start}{inspect.getsource(solver)}\n{call}")
    return cell("print(answer['content'])\nanswer['ready'] = True")


def bad_root(request: ScriptedRequest) -> str:
    """Works with floating point, and stops at the first number that comes to mind."""
    found = problem(told(request))
    numbers = list(found[1].values()) if found else [1]
    code = f"value = sum({numbers!r}) / 7\nanswer['content'] = f'approximately {{value:.4f}}'\nanswer['ready'] = True"
    return cell(code)


def sub(request: ScriptedRequest) -> str:
    """Sums a problem up in one number, rarely the right one: there is no REPL in a sub-call."""
    return llm(request)


def llm(request: ScriptedRequest) -> str:
    """Knows the formulas for what takes one line; elsewhere its arithmetic is a guess."""
    found = problem(told(request))
    if found is None:
        return "I cannot tell."
    family, numbers = found
    if family.name in {"roots", "triangle", "urn", "coin", "paths"}:
        return f"The answer is {SOLVERS[family.name](**numbers)}"
    return f"Roughly estimated, the answer is {sum(numbers.values())}."
