"""An evaluator of expressions that does nothing but compute: what it does not know to be harmless it refuses.

It walks the syntax tree over the real values of a cell. It never runs code of the cell (not even a
`__str__`), never changes a value, and never takes from an iterator that somebody else may hold.
Every refusal is a `Doubtful`; any other exception is what the expression itself would raise.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from guest import purefunctions
from guest.purecalls import Library, attribute, bounded
from guest.pureops import binary, compare, item, sign
from guest.purevalues import UNKNOWN, Caution, Doubtful, Lazy, Scope

MAX_DEPTH = 20
"""Of calls within calls."""

_CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("s"): str, ord("r"): repr, ord("a"): ascii}


class Evaluator(Library):
    """Evaluates for one loop. Names in `hidden` change while it runs: no function may read them as globals."""

    def __init__(self, caution: Caution, hidden: frozenset[str]) -> None:
        super().__init__(caution)
        self.hidden = hidden
        self._depth = 0

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """Raises `Doubtful`, or what the expression raises."""
        self.caution.step()
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise Doubtful(type(node).__name__)
        return self.caution.touch(handler(self, node, scope))

    def truth(self, node: ast.expr, scope: Scope) -> bool:
        return self.caution.truth(self.value(node, scope))

    def bind(self, target: ast.expr, value: Any, own: dict[str, Any]) -> None:
        """As an assignment does."""
        if isinstance(target, ast.Name):
            own[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            values = list(self.caution.iterate(value))
            for each, part in zip(target.elts, values, strict=True):
                self.bind(each, part, own)
        else:
            raise Doubtful("assignment to more than names")

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if (own := self.find(function)) is not None:
            return own(*args, **kwargs)
        if self._depth >= MAX_DEPTH:
            raise Doubtful("calls too deep")
        self._depth += 1
        try:
            if isinstance(function, Closure):
                return purefunctions.run(self, function.node, function.scope.look, args, kwargs, {})
            if type(function) is FunctionType:
                return purefunctions.call(self, function, args, kwargs)
        finally:
            self._depth -= 1
        raise Doubtful(f"a call of a {type(function).__name__}")


class Closure:
    """A lambda that the evaluator met."""

    def __init__(self, node: ast.Lambda, scope: Scope) -> None:
        self.node = node
        self.scope = scope


def _name(evaluator: Evaluator, node: ast.Name, scope: Scope) -> Any:
    value = scope.look(node.id)
    if value is UNKNOWN:
        raise Doubtful(f"{node.id} is not known in advance")
    return value


def _text(evaluator: Evaluator, node: ast.JoinedStr, scope: Scope) -> str:
    return "".join([evaluator.value(part, scope) for part in node.values])


def _formatted(evaluator: Evaluator, node: ast.FormattedValue, scope: Scope) -> str:
    value = evaluator.value(node.value, scope)
    spec = evaluator.value(node.format_spec, scope) if node.format_spec else ""
    evaluator.caution.make(evaluator.caution.plain(value) + bounded(spec))
    if node.conversion > 0:
        value = _CONVERSIONS[node.conversion](value)
    return format(value, spec)


def _both(evaluator: Evaluator, node: ast.BoolOp, scope: Scope) -> Any:
    value = None
    for part in node.values:
        value = evaluator.value(part, scope)
        if evaluator.caution.truth(value) == isinstance(node.op, ast.Or):
            break
    return value


def _unary(evaluator: Evaluator, node: ast.UnaryOp, scope: Scope) -> Any:
    if isinstance(node.op, ast.Not):
        return not evaluator.truth(node.operand, scope)
    return sign(node.op, evaluator.value(node.operand, scope))


def _choice(evaluator: Evaluator, node: ast.IfExp, scope: Scope) -> Any:
    return evaluator.value(node.body if evaluator.truth(node.test, scope) else node.orelse, scope)


def _compared(evaluator: Evaluator, node: ast.Compare, scope: Scope) -> Any:
    left, result = evaluator.value(node.left, scope), True
    for op, part in zip(node.ops, node.comparators, strict=True):
        right = evaluator.value(part, scope)
        result = compare(evaluator.caution, op, left, right)
        if not result:
            break
        left = right
    return result


def _subscript(evaluator: Evaluator, node: ast.Subscript, scope: Scope) -> Any:
    value = evaluator.value(node.value, scope)
    if not isinstance(node.slice, ast.Slice):
        return item(evaluator.caution, value, evaluator.value(node.slice, scope))
    ends = (node.slice.lower, node.slice.upper, node.slice.step)
    key = slice(*[None if end is None else evaluator.value(end, scope) for end in ends])
    return item(evaluator.caution, value, key)


def _display(evaluator: Evaluator, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Any:
    values = [evaluator.value(part, scope) for part in node.elts]
    if isinstance(node, ast.Set):
        evaluator.caution.plain(values)
        return set(values)
    return tuple(values) if isinstance(node, ast.Tuple) else values


def _dict(evaluator: Evaluator, node: ast.Dict, scope: Scope) -> Any:
    made = {}
    for key, part in zip(node.keys, node.values, strict=True):
        if key is None:
            raise Doubtful("a dict within a dict")
        name = evaluator.value(key, scope)
        evaluator.caution.plain(name)
        made[name] = evaluator.value(part, scope)
    return made


def _comprehension(evaluator: Evaluator, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope) -> Any:
    values = [evaluator.value(node.elt, inner) for inner in clauses(evaluator, node.generators, scope)]
    if isinstance(node, ast.SetComp):
        evaluator.caution.plain(values)
        return set(values)
    return Lazy(iter(values)) if isinstance(node, ast.GeneratorExp) else values


def _dict_comprehension(evaluator: Evaluator, node: ast.DictComp, scope: Scope) -> Any:
    made = {}
    for inner in clauses(evaluator, node.generators, scope):
        key = evaluator.value(node.key, inner)
        evaluator.caution.plain(key)
        made[key] = evaluator.value(node.value, inner)
    return made


def clauses(evaluator: Evaluator, generators: list[ast.comprehension], outer: Scope) -> Iterator[Scope]:
    """The scope of each round of a comprehension."""
    first, *rest = generators
    if first.is_async:
        raise Doubtful("async")
    for value in evaluator.caution.iterate(evaluator.value(first.iter, outer)):
        scope = Scope({}, outer.look)
        evaluator.bind(first.target, value, scope.own)
        if all(evaluator.truth(test, scope) for test in first.ifs):
            if rest:
                yield from clauses(evaluator, rest, scope)
            else:
                yield scope


def _called(evaluator: Evaluator, node: ast.Call, scope: Scope) -> Any:
    holder = name = None
    if isinstance(node.func, ast.Attribute):
        holder, name = evaluator.value(node.func.value, scope), node.func.attr
        if type(holder) is ModuleType:
            function, name = attribute(holder, name), None
    else:
        function = evaluator.value(node.func, scope)
    args = tuple(evaluator.value(arg, scope) for arg in node.args)
    if any(keyword.arg is None for keyword in node.keywords):
        raise Doubtful("**")
    kwargs = {str(keyword.arg): evaluator.value(keyword.value, scope) for keyword in node.keywords}
    if name is None:
        return evaluator.call(function, *args, **kwargs)
    return evaluator.method(holder, name, args, kwargs)


_HANDLERS: dict[type, Callable[[Evaluator, Any, Scope], Any]] = {
    ast.Constant: lambda evaluator, node, scope: node.value,
    ast.Name: _name,
    ast.JoinedStr: _text,
    ast.FormattedValue: _formatted,
    ast.BoolOp: _both,
    ast.UnaryOp: _unary,
    ast.BinOp: lambda evaluator, node, scope: binary(
        evaluator.caution, node.op, evaluator.value(node.left, scope), evaluator.value(node.right, scope)
    ),
    ast.IfExp: _choice,
    ast.Compare: _compared,
    ast.Subscript: _subscript,
    ast.List: _display,
    ast.Tuple: _display,
    ast.Set: _display,
    ast.Dict: _dict,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Lambda: lambda evaluator, node, scope: Closure(node, scope),
    ast.Attribute: lambda evaluator, node, scope: attribute(evaluator.value(node.value, scope), node.attr),
    ast.Call: _called,
}
