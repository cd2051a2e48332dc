"""Exact equality of expressions, for text that nobody has vouched for.

An expression is parsed to Python's syntax tree and walked: numbers, `+ - * / **`, `sqrt`, `pi` and a few functions
whose arguments are bounded, and nothing else. What is rational is a `Fraction`, compared exactly. The rest goes to
sympy, unevaluated, and is compared with the gold in 60 digits: so few operations on such small numbers do not agree in
50 digits unless they are equal.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rlm.errors import ConfigError

MAX_CHARS = 400
MAX_NODES = 120
MAX_BITS = 4096
"""Of a numerator or a denominator."""
MAX_POWER = 512
DIGITS = 60
SAME = 50

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class NoExpression(ValueError):
    """Not an expression of the kinds that are read, or one that is too large."""


def equal(text: str, gold: str) -> bool:
    """Whether `text` is an expression that equals `gold`. Raises `NoExpression` where `text` is none."""
    value = parse(text)
    wanted = parse(gold)
    if isinstance(value, Fraction):
        # An irrational number has no exact decimal, so a decimal that is close to it is not it.
        return bool(value == wanted)
    return _agree(value, _tree(wanted))


def check_installed() -> None:
    """Raises `ConfigError` without sympy: before a task is played, not when its answer is scored."""
    _sympy()


def parse(text: str) -> Any:
    """A `Fraction`, or a tree of sympy's that is not evaluated yet. Raises `NoExpression`."""
    if len(text) > MAX_CHARS:
        raise NoExpression("too long")
    try:
        with warnings.catch_warnings():
            # `1(2)` is called out by the compiler.
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NoExpression(type(error).__name__) from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise NoExpression("too large")
    return _value(tree.body)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool()):
            raise NoExpression("a truth value")
        case ast.Constant(value=int() | float()):
            return _bounded(Fraction(ast.unparse(node)))
        case ast.Name(id="pi"):
            return _sympy().pi
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combine(operator.mul, Fraction(-1), _value(operand))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _combine(_BINARY[type(op)], _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, [_value(each) for each in arguments])
    raise NoExpression(type(node).__name__)


def _combine(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        try:
            return _bounded(operation(left, right))
        except ZeroDivisionError:
            raise NoExpression("division by zero") from None
    sympy = _sympy()
    left, right = _tree(left), _tree(right)
    if operation is operator.sub:
        return sympy.Add(left, sympy.Mul(-1, right, evaluate=False), evaluate=False)
    if operation is operator.truediv:
        return sympy.Mul(left, sympy.Pow(right, -1, evaluate=False), evaluate=False)
    return (sympy.Add if operation is operator.add else sympy.Mul)(left, right, evaluate=False)


def _power(base: Any, exponent: Any) -> Any:
    if not isinstance(exponent, Fraction):
        raise NoExpression("an exponent that is not rational")
    if exponent.denominator == 2:
        return _root(_power(base, Fraction(exponent.numerator)))
    if exponent.denominator != 1 or abs(exponent) > MAX_POWER:
        raise NoExpression("an exponent out of bounds")
    if not isinstance(base, Fraction):
        return _sympy().Pow(base, exponent.numerator, evaluate=False)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent.numerator) > MAX_BITS or (not base and exponent < 0):
        raise NoExpression("a power out of bounds")
    return Fraction(base ** int(exponent))


def _root(value: Any) -> Any:
    if isinstance(value, Fraction):
        if value < 0:
            raise NoExpression("not a real number")
        above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if above * above == value.numerator and below * below == value.denominator:
            return Fraction(above, below)
    sympy = _sympy()
    return sympy.Pow(_tree(value), sympy.Rational(1, 2), evaluate=False)


def _call(name: str, arguments: list[Any]) -> Any:
    match name, arguments:
        case "sqrt", [value]:
            return _root(value)
        case (("Fraction" | "Rational"), [left, right]):
            return _combine(operator.truediv, left, right)
        case (("Fraction" | "Rational" | "Integer" | "int"), [value]):
            return value
        case (("comb" | "binomial"), [n, k]) if _small(n) and _small(k):
            return Fraction(math.comb(int(n), int(k)))
        case "factorial", [n] if _small(n):
            return _bounded(Fraction(math.factorial(int(n))))
    raise NoExpression(f"a call of {name[:20]}")


def _small(value: Any) -> bool:
    return isinstance(value, Fraction) and value.denominator == 1 and 0 <= value <= MAX_POWER


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NoExpression("a number out of bounds")
    return value


def _tree(value: Any) -> Any:
    return _sympy().Rational(value.numerator, value.denominator) if isinstance(value, Fraction) else value


def _agree(left: Any, right: Any) -> bool:
    first, second = _number(left), _number(right)
    if first is None or second is None:
        return False
    return bool(abs(first - second) <= (1 + abs(second)) * _sympy().Float(10, DIGITS) ** -SAME)


def _number(value: Any) -> Any:
    """In `DIGITS` digits; None: it is not a real number."""
    try:
        number = value.evalf(DIGITS, maxn=4 * DIGITS)
    except (ArithmeticError, ValueError, TypeError, RecursionError):
        return None
    return number if number.is_Float or number.is_Rational else None


def _sympy() -> Any:
    try:
        import sympy
    except ImportError:
        raise ConfigError("math_python: closed forms need sympy: pip install 'rlm-kernel[evals]'") from None
    return sympy
