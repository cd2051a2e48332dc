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
from guest.loopplan import Facts, plan
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
        self._plan = plan(loop)
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
            flow = yield from self._statement(statement, self._plan[id(statement)])
            if flow is Flow.EITHER:
                self._skip(body[at + 1 :])
            if flow is not Flow.ON:
                return flow
        return Flow.ON

    def _statement(self, node: ast.stmt, facts: Facts) -> Walk:
        self.caution.step()
        match node:
            case ast.Continue():
                return Flow.SKIPPED
            case ast.For(iter=values) if facts.leads and id(values) not in self._loop.path:
                for value in self.caution.iterate(self._evaluator.value(values, self._scope)):
                    self._evaluator.bind(node.target, value, self._own)
                    yield from self._block(node.body)
                return Flow.ON
            case ast.If(test=test) if (facts.leads or facts.matters) and id(test) not in self._loop.path:
                return (yield from self._branch(node, facts))
            case ast.Assign() | ast.AugAssign() if facts.matters and not facts.leads:
                self._assign(node, facts)
                self._mark(facts)
                return Flow.ON
        if facts.leads:
            yield self._ask(self._scope)
        self._forget(facts)
        return Flow.EITHER if facts.continues else Flow.ON

    def _branch(self, node: ast.If, facts: Facts) -> Walk:
        try:
            branch = node.body if self._evaluator.truth(node.test, self._scope) else node.orelse
        except Doubtful:
            if facts.leads:
                raise
            self._forget(facts)
            return Flow.EITHER if facts.continues else Flow.ON
        return (yield from self._block(branch))

    def _assign(self, node: ast.Assign | ast.AugAssign, facts: Facts) -> None:
        try:
            assign(self._evaluator, node, self._scope)
        except Doubtful:
            self._forget(facts)

    def _skip(self, nodes: list[ast.stmt]) -> None:
        """It is not known whether they run."""
        skipped = [self._plan[id(node)] for node in nodes]
        if any(facts.leads for facts in skipped):
            raise Doubtful("whether it is asked")
        for facts in skipped:
            self._forget(facts)

    def _forget(self, facts: Facts) -> None:
        """What it assigns and changes is not known from here on."""
        self._mark(facts)
        self._own.update(dict.fromkeys(facts.assigned, UNKNOWN))

    def _mark(self, facts: Facts) -> None:
        """What it changes is not read from here on."""
        for name in facts.augmented:
            value = self._own.get(name, UNKNOWN)
            if kind_of(value) in CHANGEABLE:
                self.caution.change(value)
        for name, inside in facts.changes:
            value = self._own.get(name, UNKNOWN)
            if value is not UNKNOWN:
                self.caution.change(value, inside=inside)
            elif name not in self._loop.survey.fresh:
                raise Doubtful(f"what {name} is")
