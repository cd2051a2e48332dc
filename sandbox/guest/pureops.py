"""Operators and subscripts of the evaluator, on values whose operators are known to be harmless."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from types import GenericAlias, UnionType
from typing import Any, Literal, Optional, Union

from guest.files import Files
from guest.purecalls import bounded
from guest.purevalues import MAPPINGS, NUMBERS, SCALARS, TEXTS, Caution, Doubtful, kind_of
from guest.text import Text

MAX_BITS = 10_000
"""Of an integer that is computed with."""

GENERICS = (list, dict, tuple, set, frozenset, Literal, Optional, Union)
"""What makes a type of types, for a schema."""
TYPES = frozenset({type, GenericAlias, UnionType, type(Literal[0]), type(operator.getitem(Optional, int))})

_SIGNS: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.inv}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def binary(caution: Caution, op: ast.operator, left: Any, right: Any) -> Any:
    kinds = {kind_of(left), kind_of(right)}
    if kinds <= NUMBERS:
        return _arithmetic(op, left, right)
    if isinstance(op, ast.Add) and (kinds <= TEXTS or (len(kinds) == 1 and kinds <= {bytes, list, tuple})):
        caution.make(len(left) + len(right))
    elif isinstance(op, ast.Mult) and kinds & {int, bool} and kinds & (TEXTS | {bytes, list, tuple}):
        count, part = (left, right) if isinstance(left, int) else (right, left)
        caution.make(len(part) * count)
    elif isinstance(op, ast.Mod) and kind_of(left) in TEXTS:
        weight = caution.plain(right)
        caution.make(left.count("%") * weight + bounded(left))
    elif isinstance(op, ast.BitOr) and kinds <= TYPES | {type(None)}:
        return left | right
    elif kinds <= {set, frozenset} or (kinds == {dict} and isinstance(op, ast.BitOr)):
        caution.plain(left, right)
    else:
        raise Doubtful("an operator")
    return _OPERATORS[type(op)](left, right)


def _arithmetic(op: ast.operator, left: Any, right: Any) -> Any:
    whole = [value.bit_length() for value in (left, right) if isinstance(value, int)]
    if any(bits > MAX_BITS for bits in whole):
        raise Doubtful("a large number")
    if isinstance(op, ast.Pow):
        if len(whole) == 2 and whole[0] * right > MAX_BITS:
            raise Doubtful("a large power")
        return left**right
    if type(op) not in _OPERATORS:
        raise Doubtful("an operator")
    return _OPERATORS[type(op)](left, right)


def sign(op: ast.unaryop, value: Any) -> Any:
    if kind_of(value) not in NUMBERS:
        raise Doubtful("an operator")
    return _SIGNS[type(op)](value)


def compare(caution: Caution, op: ast.cmpop, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Is | ast.IsNot):
        if not any(left is each or right is each for each in (None, True, False)):
            raise Doubtful("identity")
        return (left is right) == isinstance(op, ast.Is)
    if not isinstance(op, ast.In | ast.NotIn):
        caution.plain(left, right)
        return _OPERATORS[type(op)](left, right)
    kind = kind_of(right)
    caution.plain(left)
    if kind in MAPPINGS:
        caution.keys(right)
    elif kind is Text:
        caution.step((right.last - right.first) >> 14)
    elif kind is not Files and kind is not range:
        caution.plain(right)
    return (left in right) == isinstance(op, ast.In)


def item(caution: Caution, value: Any, key: Any) -> Any:
    """`value[key]`"""
    if any(value is each for each in GENERICS):
        parts = key if type(key) is tuple else (key,)
        if not all(kind_of(part) in TYPES | SCALARS for part in parts):
            raise Doubtful("a type")
        return value[key]
    kind = kind_of(value)
    caution.plain(*((key.start, key.stop, key.step) if type(key) is slice else (key,)))
    if kind in MAPPINGS:
        caution.keys(value)
        if kind is not dict and key not in value:
            raise Doubtful("what a mapping makes of a missing key")
    elif kind is Files:
        if key not in value:
            raise KeyError(key)
        caution.make(value.path(key).stat().st_size)
    elif kind not in TEXTS | {list, tuple, bytes, range, Text}:
        raise Doubtful(f"an element of a {kind.__name__}")
    if type(key) is slice and kind is not Text:
        caution.make(len(range(*key.indices(len(value)))))
    found = value[key]
    if kind is Text:
        caution.make(len(found) if type(found) is str else 0)
    return found
