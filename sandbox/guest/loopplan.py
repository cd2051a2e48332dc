"""What the walk through a loop has to know of each statement: found once per loop, not once per iteration."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import NamedTuple

from guest.loopcheck import names, names_only
from guest.loops import Loop


class Facts(NamedTuple):
    """Of a statement, those within it included."""

    leads: bool
    """It holds the loop's `llm_query`."""
    matters: bool
    """A prompt may depend on it."""
    continues: bool
    """It may skip what follows it."""
    assigned: frozenset[str]
    augmented: frozenset[str]
    changes: tuple[tuple[str, bool], ...]
    """Of the names that the loop binds: the object is changed, or (True) something inside of it."""


@lru_cache(maxsize=128)
def plan(loop: Loop) -> dict[int, Facts]:
    """By the statement's identity."""
    if not isinstance(loop.node, ast.For):
        return {}
    statements = [each for each in ast.walk(loop.node) if isinstance(each, ast.stmt) and each is not loop.node]
    needed = _needed(loop, statements)
    return {id(each): _facts(loop, each, needed) for each in statements}


def _facts(loop: Loop, node: ast.stmt, needed: set[str]) -> Facts:
    within = [each for each in ast.walk(node) if isinstance(each, ast.stmt)]
    changes = [loop.survey.changes[id(each)] for each in within if id(each) in loop.survey.changes]
    return Facts(
        leads=id(node) in loop.path,
        matters=_continues(node) or not needed.isdisjoint(_assigned(node)),
        continues=_continues(node),
        assigned=frozenset(_assigned(node)),
        augmented=frozenset().union(*(_assigned(each) for each in within if isinstance(each, ast.AugAssign))),
        changes=tuple(change for change in changes if change[0] in loop.bound),
    )


def _assigned(node: ast.stmt) -> set[str]:
    targets: list[ast.expr] = []
    for each in ast.walk(node):
        if isinstance(each, ast.Assign):
            targets += each.targets
        elif isinstance(each, ast.AugAssign | ast.For):
            targets.append(each.target)
    return set[str]().union(*(names(target) for target in targets if names_only(target)))


def _continues(node: ast.stmt) -> bool:
    if isinstance(node, ast.For):
        return False
    return any(isinstance(each, ast.Continue) for each in ast.walk(node))


def _needed(loop: Loop, statements: list[ast.stmt]) -> set[str]:
    """Names that prompts, and whether they are asked, depend on; and those of objects that are changed."""
    needed = set().union(*map(names, [*loop.query.args, *loop.query.keywords]))
    needed |= loop.survey.changed | loop.survey.augmented
    while True:
        before = len(needed)
        for each in statements:
            leads = id(each) in loop.path
            match each:
                case ast.For(iter=values) if leads:
                    needed |= names(values)
                case ast.If(test=test) if leads or _continues(each) or needed & _assigned(each):
                    needed |= names(test)
                case ast.Assign() | ast.AugAssign() if needed & _assigned(each):
                    needed |= names(each)
        if len(needed) == before:
            return needed
