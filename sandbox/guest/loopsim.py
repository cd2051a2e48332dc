"""What a loop is going to ask: its code walked through, ahead of the loop itself, by the evaluator.

Of the statements only those are followed that prompts depend on. What is not known in advance, first
of all the replies, is `UNKNOWN`; a prompt or a condition that needs it ends the walk.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Generator, Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

from guest import harmless
from guest.loopcheck import names as names_in
from guest.loops import Loop
from guest.pure import Evaluator
from guest.purefunctions import assign
from guest.purevalues import CHANGEABLE, SCALARS, UNKNOWN, VIEWS, Caution, Doubtful, Scope, Unknown, kind_of, repeatable


class Ask(NamedTuple):
    """One call of `llm_query`."""

    prompt: Any
    options: dict[str, Any]


class Flow(Enum):
    """How a statement was left."""

    ON = auto()
    SKIPPED = auto()
    """By `continue`."""
    EITHER = auto()


Walk = Generator[Ask, None, Flow]


class Simulation:
    """One run of one loop. `names` are what it reads from outside, as they were when it began."""

    def __init__(self, loop: Loop, names: dict[str, Any]) -> None:
        """Raises `Doubtful`."""
        self.line = loop.node.lineno
        self._loop = loop
        self._names = names
        self.caution = Caution()
        self._evaluator = Evaluator(self.caution, loop.bound)
        self._own = {name: self._carried(name) for name in loop.survey.assigned - loop.survey.targets}
        self._scope = Scope(self._own, self._outside)
        self._needed = _needed(loop)
        harmless.check(loop.survey, names)
        if loop.consumer and names.get(loop.consumer) is not getattr(builtins, loop.consumer):
            raise Doubtful(f"{loop.consumer} is not the builtin")
        for name, inside in loop.survey.changes.values():
            if name not in loop.bound:
                self.caution.change(self._outside(name), inside=inside)

    def asks(self, iterable: Any) -> Iterator[Ask]:
        """The calls in order. Raises `Doubtful`, or what the code itself would raise in that place."""
        node = self._loop.node
        outer = Scope({}, self._outside)
        if not repeatable(iterable) or (kind_of(iterable) in VIEWS and self.caution.changes_mapping):
            # An iterator is not to be taken from, and a view does not tell of what: another is made in the same way.
            source = node.iter if isinstance(node, ast.For) else node.generators[0].iter
            iterable = self._evaluator.value(source, outer)
        for value in self.caution.iterate(iterable):
            if isinstance(node, ast.For):
                self._evaluator.bind(node.target, value, self._own)
                yield from self._block(node.body)
            else:
                yield from self._clause(node.generators, value, outer)

    def _outside(self, name: str) -> Any:
        if name not in self._names:
            raise NameError(name)
        return self._names[name]

    def _carried(self, name: str) -> Any:
        """What a name that the loop assigns stands for as it begins."""
        value = self._names.get(name, UNKNOWN)
        survey = self._loop.survey
        if name in survey.augmented and kind_of(value) not in SCALARS | {tuple, Unknown}:
            self.caution.change(value)
        if name in survey.fresh & survey.changed and kind_of(value) in CHANGEABLE:
            # It is not fresh before it is assigned.
            self.caution.change(value)
        return value

    def _ask(self, scope: Scope) -> Ask:
        query = self._loop.query
        options = {str(each.arg): self._evaluator.value(each.value, scope) for each in query.keywords}
        prompt = self._evaluator.value(query.args[0], scope) if query.args else options.pop("prompt")
        self.caution.begin()
        return Ask(prompt, options)

    def _clause(self, clauses: list[ast.comprehension], value: Any, outer: Scope) -> Iterator[Ask]:
        """One round of a comprehension's first clause."""
        clause, *more = clauses
        scope = Scope({}, outer.look)
        self._evaluator.bind(clause.target, value, scope.own)
        for test in clause.ifs:
            if id(test) in self._loop.path:
                break
            if not self._evaluator.truth(test, scope):
                return
        if not more:
            yield self._ask(scope)
            return
        for inner in self.caution.iterate(self._evaluator.value(more[0].iter, scope)):
            yield from self._clause(more, inner, scope)

    # --- statements -------------------------------------------------------------------------

    def _block(self, body: list[ast.stmt]) -> Walk:
        for at, statement in enumerate(body):
            flow = yield from self._statement(statement)
            if flow is Flow.EITHER:
                self._skip(*body[at + 1 :])
            if flow is not Flow.ON:
                return flow
        return Flow.ON

    def _statement(self, node: ast.stmt) -> Walk:
        self.caution.step()
        leads = id(node) in self._loop.path
        match node:
            case ast.Continue():
                return Flow.SKIPPED
            case ast.For(iter=values) if leads and id(values) not in self._loop.path:
                for value in self.caution.iterate(self._evaluator.value(values, self._scope)):
                    self._evaluator.bind(node.target, value, self._own)
                    yield from self._block(node.body)
                return Flow.ON
            case ast.If(test=test) if id(test) not in self._loop.path and (leads or self._matters(node)):
                return (yield from self._branch(node, leads))
            case ast.Assign() | ast.AugAssign() if not leads and self._matters(node):
                self._assign(node)
                self._mark(node)
                return Flow.ON
        if leads:
            yield self._ask(self._scope)
        self._forget(node)
        return Flow.EITHER if _continues(node) else Flow.ON

    def _branch(self, node: ast.If, leads: bool) -> Walk:
        try:
            branch = node.body if self._evaluator.truth(node.test, self._scope) else node.orelse
        except Doubtful:
            if leads:
                raise
            self._forget(node)
            return Flow.EITHER if _continues(node) else Flow.ON
        return (yield from self._block(branch))

    def _assign(self, node: ast.Assign | ast.AugAssign) -> None:
        try:
            assign(self._evaluator, node, self._scope)
        except Doubtful:
            self._forget(node)

    def _matters(self, node: ast.stmt) -> bool:
        """Whether a prompt may depend on it."""
        return _continues(node) or not self._needed.isdisjoint(_assigned(node))

    def _skip(self, *nodes: ast.stmt) -> None:
        """It is not known whether they run."""
        if any(id(node) in self._loop.path for node in nodes):
            raise Doubtful("whether it is asked")
        for node in nodes:
            self._forget(node)

    def _forget(self, node: ast.stmt) -> None:
        """What it assigns and changes is not known from here on."""
        self._mark(node)
        self._own.update(dict.fromkeys(_assigned(node), UNKNOWN))

    def _mark(self, node: ast.stmt) -> None:
        """What it changes is not read from here on."""
        for each in ast.walk(node):
            if isinstance(each, ast.AugAssign) and isinstance(each.target, ast.Name):
                value = self._own.get(each.target.id, UNKNOWN)
                if kind_of(value) in CHANGEABLE:
                    self.caution.change(value)
            name, inside = self._loop.survey.changes.get(id(each), ("", False))
            if name not in self._loop.bound:
                continue
            if name in self._loop.survey.fresh:
                self._own[name] = UNKNOWN
            elif (value := self._own.get(name, UNKNOWN)) is UNKNOWN:
                raise Doubtful(f"what {name} is")
            else:
                self.caution.change(value, inside=inside)


def _assigned(node: ast.stmt) -> set[str]:
    """The names that a statement and those within it assign, targets of loops included."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def _continues(node: ast.stmt) -> bool:
    """Whether it may skip what follows it."""
    if isinstance(node, ast.For):
        return False
    return any(isinstance(each, ast.Continue) for each in ast.walk(node))


def _needed(loop: Loop) -> set[str]:
    """Names that prompts, and whether they are asked, depend on."""
    if not isinstance(loop.node, ast.For):
        return set()
    statements = [each for each in ast.walk(loop.node) if isinstance(each, ast.stmt) and each is not loop.node]
    needed = set().union(*map(names_in, [*loop.query.args, *loop.query.keywords])) | loop.survey.changed
    while True:
        before = len(needed)
        for each in statements:
            leads = id(each) in loop.path
            match each:
                case ast.For(iter=values) if leads:
                    needed |= names_in(values)
                case ast.If(test=test) if leads or _continues(each) or needed & _assigned(each):
                    needed |= names_in(test)
                case ast.Assign() | ast.AugAssign() if needed & _assigned(each):
                    needed |= names_in(each)
        if len(needed) == before:
            return needed
