"""Small functions that cells have defined, interpreted by the evaluator: their source is known, so is what they do."""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from guest.pureops import binary
from guest.purevalues import COLLECTIONS, UNKNOWN, Doubtful, Scope, kind_of

if TYPE_CHECKING:
    from guest.pure import Evaluator

Function = ast.FunctionDef | ast.Lambda
NOT_PLAIN = 0x20 | 0x80 | 0x100 | 0x200
"""Flags of generators and coroutines."""


@lru_cache(maxsize=256)
def source(code: CodeType) -> Function:
    """The definition of a function of a cell, as it was written. Raises `Doubtful` if it cannot be told."""
    if not code.co_filename.startswith("<cell") or code.co_flags & NOT_PLAIN:
        raise Doubtful(f"the source of {code.co_name}")
    found: list[Function] = [
        node
        for node in ast.walk(_cell(code.co_filename, tuple(linecache.getlines(code.co_filename))))
        if (isinstance(node, ast.FunctionDef) and node.name == code.co_name and not node.decorator_list)
        or (isinstance(node, ast.Lambda) and code.co_name == "<lambda>")
        if node.lineno == code.co_firstlineno
    ]
    if len(found) != 1:
        raise Doubtful(f"the source of {code.co_name}")
    return found[0]


@lru_cache(maxsize=16)
def _cell(name: str, lines: tuple[str, ...]) -> ast.Module:
    tree = compile("".join(lines), name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    return tree


def surroundings(function: FunctionType, hidden: frozenset[str]) -> Callable[[str], Any]:
    """What finds the names that a function does not bind itself. Those in `hidden` change under it."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def look(name: str) -> Any:
        if name in hidden:
            raise Doubtful(f"{name} changes")
        try:
            return cells[name].cell_contents if name in cells else function.__globals__[name]
        except (KeyError, ValueError):
            pass
        if name in cells or not hasattr(builtins, name):
            raise NameError(name)
        return getattr(builtins, name)

    return look


def call(evaluator: Evaluator, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    node = source(function.__code__)
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
    values = function.__defaults__ or ()
    defaults = dict(zip(names[len(names) - len(values) :], values, strict=True)) | (function.__kwdefaults__ or {})
    return run(evaluator, node, surroundings(function, evaluator.hidden), args, kwargs, defaults)


def run(
    evaluator: Evaluator,
    node: Function,
    look: Callable[[str], Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    defaults: dict[str, Any],
) -> Any:
    """The value of a call. `Doubtful` unless the body only computes, assigns to names of its own, and returns."""
    scope = Scope(_bound(node.args, args, kwargs, defaults), look)
    if isinstance(node, ast.Lambda):
        return evaluator.value(node.body, scope)
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            # Read before it has a value, it is an error, or not what it is outside.
            scope.own.setdefault(each.id, UNKNOWN)
    returned = _block(evaluator, node.body, scope)
    return returned[0] if returned else None


def _bound(
    spec: ast.arguments, args: tuple[Any, ...], kwargs: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    if spec.vararg or spec.kwarg or spec.posonlyargs:
        raise Doubtful("the parameters")
    names = [arg.arg for arg in spec.args]
    given = dict(zip(names, args, strict=False))
    wanted = {*names, *(arg.arg for arg in spec.kwonlyargs)}
    bound = {**defaults, **given, **kwargs}
    # What Python says to a wrong call, it says itself.
    if len(args) > len(names) or given.keys() & kwargs.keys() or bound.keys() != wanted:
        raise Doubtful("the arguments")
    return bound


def _block(evaluator: Evaluator, body: list[ast.stmt], scope: Scope) -> tuple[Any] | None:
    """The value that it returns; None if it does not return."""
    for statement in body:
        evaluator.caution.step()
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                continue
            case ast.Return(value=value):
                return (evaluator.value(value, scope) if value else None,)
            case ast.If(test=test, body=yes, orelse=no):
                if returned := _block(evaluator, yes if evaluator.truth(test, scope) else no, scope):
                    return returned
            case ast.Assign() | ast.AugAssign():
                assign(evaluator, statement, scope)
            case _:
                raise Doubtful(type(statement).__name__)
    return None


def assign(evaluator: Evaluator, statement: ast.Assign | ast.AugAssign, scope: Scope) -> None:
    """To names of `scope`; what an augmented assignment would change in place is refused."""
    if isinstance(statement, ast.Assign):
        value = evaluator.value(statement.value, scope)
        for target in statement.targets:
            evaluator.bind(target, value, scope.own)
        return
    if not isinstance(statement.target, ast.Name):
        raise Doubtful("assignment to more than names")
    before = evaluator.value(ast.Name(statement.target.id, ast.Load()), scope)
    if kind_of(before) in COLLECTIONS - {tuple}:
        raise Doubtful("a change in place")
    value = evaluator.value(statement.value, scope)
    scope.own[statement.target.id] = binary(evaluator.caution, statement.op, before, value)
