"""Loops that call `llm_query` once per iteration: found in a cell's syntax tree, and fitted with two hooks.

    [llm_query(f(c)) for c in chunks]  ->  [PICK(0, llm_query)(f(c)) for c in AHEAD(0, chunks, lambda: f)]

`AHEAD(loop, iterable, *names)` gives back the iterable, or an iterator over the same elements; `PICK`
gives back `llm_query`, or something that answers as it would. So the loop runs as it is written, and
everything else about it stays what it was. `guest.ahead` is behind the hooks. The lambdas are how it
reads the loop's names, whatever kind of variable each is.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from guest.loopcheck import Refused, Survey, names, path_to, reached, sure

QUERY = "llm_query"
AHEAD, PICK = "__rlm_ahead__", "__rlm_pick__"
SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
NAMES_READERS = frozenset({"locals", "vars", "dir", "eval", "exec"})
"""In a scope that uses one of these, no variable may become one that a lambda shares."""
EAGER = frozenset({"list", "tuple", "set", "dict", "sorted"})
"""Builtins that exhaust a generator expression before they do anything else."""

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Node = ast.For | Comprehension


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop:
    """One loop, as written, and what the survey of its code has found."""

    call: int
    """The number of its `llm_query`: loops around each other share it."""
    node: Node
    query: ast.Call
    path: frozenset[int]
    """Identities of the nodes from the loop down to its `llm_query`."""
    survey: Survey
    names: tuple[str, ...]
    """What it reads from outside, in the order of the hook's arguments."""
    consumer: str
    """The builtin that a generator expression is made for, or ""."""

    @cached_property
    def bound(self) -> frozenset[str]:
        return frozenset(self.survey.targets | self.survey.assigned)


class Rewriter(ast.NodeTransformer):
    """Fits the hooks, cell by cell. `loops` are all that it has found, by number."""

    def __init__(self) -> None:
        self.loops: list[Loop] = []
        self._calls = 0

    def visit(self, tree: ast.AST) -> ast.AST:
        """The tree of a cell, changed in place; where anything is doubtful, as it was."""
        if not any(isinstance(node, ast.Name) and node.id == QUERY for node in ast.walk(tree)):
            return tree
        numbers: dict[ast.Call, int] = {}
        try:
            # All are found before any is changed, so that none sees the hooks of another.
            found = [(node, loop) for node, consumer in _loops(tree) if (loop := self._survey(node, consumer, numbers))]
        except Exception:
            # Such as one that is nested too deep for us. No cell is to fail for that.
            return tree
        for node, loop in found:
            _fit_ahead(node, len(self.loops), loop.names)
            self.loops.append(loop)
        for query, call in numbers.items():
            query.func = _hook(PICK, call, query.func)
        self._calls += len(numbers)
        return tree

    def _survey(self, original: Node, consumer: str, numbers: dict[ast.Call, int]) -> Loop | None:
        """What is known of a loop; None if it is to run as written."""
        query = _the_query(original)
        if query is None:
            return None
        node = copy.deepcopy(original)
        its_query = _the_query(node)
        assert its_query is not None
        path = list(path_to(node, its_query))
        schema = [each.value for each in its_query.keywords if each.arg == "schema"]
        survey = Survey(passed_on=[part for each in schema for part in ast.walk(each)])
        try:
            sound = (
                _survey_for(survey, node, path) if isinstance(node, ast.For) else _survey_clauses(survey, node, path)
            )
        except Refused:
            return None
        survey.called -= {QUERY}
        if not sound:
            return None
        read = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
        outside = (read | survey.augmented | ({consumer} if consumer else set())) - survey.targets - {QUERY}
        return Loop(
            call=numbers.setdefault(query, self._calls + len(numbers)),
            node=node,
            query=its_query,
            path=frozenset(map(id, path)),
            survey=survey,
            names=tuple(sorted(outside)),
            consumer=consumer,
        )


def _loops(node: ast.AST, consumers: dict[int, str] | None = None) -> Iterator[tuple[Node, str]]:
    """The loops below, outer ones first, each with the name of what a generator expression is made for."""
    consumers = consumers if consumers is not None else {}
    for child in ast.iter_child_nodes(node):
        if isinstance(child, SCOPES) and names(child) & NAMES_READERS:
            continue
        match child:
            case ast.Call(func=ast.Name(id=name), args=[ast.GeneratorExp() as only], keywords=[]) if name in EAGER:
                consumers[id(only)] = name
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="join"), args=[only], keywords=[]):
                consumers[id(only)] = ""
        if isinstance(child, Node) and (not isinstance(child, ast.GeneratorExp) or id(child) in consumers):
            yield child, consumers.get(id(child), "")
        yield from _loops(child, consumers)


def _each_round(node: Node) -> Iterator[ast.AST]:
    """The parts of a loop that run in each iteration."""
    if isinstance(node, ast.For):
        yield from node.body
        return
    yield from [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    first, *more = node.generators
    yield from first.ifs
    yield from more


def _the_query(node: Node) -> ast.Call | None:
    """The one `llm_query(prompt, name=…)` in a loop; None if there is none, more than one, or it is no such call."""
    parts = [each for part in _each_round(node) for each in ast.walk(part)]
    if sum(isinstance(each, ast.Name) and each.id == QUERY for each in parts) != 1:
        return None
    for each in parts:
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == QUERY:
            options = [keyword.arg for keyword in each.keywords]
            plain = not any(isinstance(arg, ast.Starred) for arg in each.args) and None not in options
            one = len(each.args) + options.count("prompt") == 1
            return each if plain and one and "strict" not in options else None
    return None


def _survey_for(survey: Survey, node: ast.For, path: list[ast.AST]) -> bool:
    if node.orelse:
        return False
    survey.target(node.target)
    survey.body(node.body)
    return reached(path[1:])


def _survey_clauses(survey: Survey, node: Comprehension, path: list[ast.AST]) -> bool:
    for clause in node.generators:
        survey.target(clause.target)
    for part in _each_round(node):
        survey.expression(part)
    if node.generators[0].is_async:
        return False
    if not isinstance(path[1], ast.comprehension):
        return sure(path[1:])
    return path[1] is node.generators[-1] and path[2] is not path[1].iter and sure(path[2:])


def _fit_ahead(node: Node, number: int, read: tuple[str, ...]) -> None:
    holder = node if isinstance(node, ast.For) else node.generators[0]
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    thunks = [ast.Lambda(args=nothing, body=ast.Name(name, ast.Load())) for name in read]
    holder.iter = _hook(AHEAD, number, holder.iter, *thunks)


def _hook(name: str, number: int, replaced: ast.expr, *more: ast.expr) -> ast.Call:
    """A call in the place of `replaced`, so that errors are where they would be."""
    call = ast.Call(func=ast.Name(name, ast.Load()), args=[ast.Constant(number), replaced, *more], keywords=[])
    return ast.fix_missing_locations(ast.copy_location(call, replaced))
