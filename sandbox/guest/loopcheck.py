"""What may stand in a loop that is looked ahead of: a survey of its code, before any of it runs.

Two things are found out: that the one `llm_query` is called exactly once in each iteration that gets
there, and that nothing else in the loop can leave it early or is known to do more than compute.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator
from functools import cached_property

from guest.purecalls import METHODS, words

READING = frozenset[str]().union(*METHODS.values()) | words(
    "basename ceil dedent dumps escape exp fabs findall finditer floor fullmatch glob grep group groupdict groups"
    " isinf isnan loads log log10 log2 match search sqrt sub trunc"
)
"""Names of methods, and of functions of modules, that are taken to change nothing."""
FIELDS = words("usage model cached depth_limited ready stop_reason turns kind message path")
CHANGING = words("add append appendleft extend insert update")
"""Methods by which a loop fills what it collects in."""
EXPRESSIONS = (
    ast.Constant,
    ast.Name,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Subscript,
    ast.Slice,
    ast.Attribute,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.Lambda,
    ast.arguments,
    ast.arg,
    ast.Call,
    ast.keyword,
    ast.operator,
    ast.boolop,
    ast.cmpop,
    ast.unaryop,
    ast.expr_context,
)
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
IN_FUNCTIONS = (ast.Return, ast.Try, ast.While, ast.Raise, ast.Break)


class Refused(Exception):
    """There is something in the loop that might do more than compute."""


class Survey:
    """What a piece of code binds, changes and calls. Raises `Refused` for anything that it does not know."""

    def __init__(self, *, function: bool = False, passed_on: Iterable[ast.AST] = ()) -> None:
        """The names in `passed_on` are handed to our own code as they are: whatever they stand for does nothing."""
        self._more = IN_FUNCTIONS if function else ()
        self._passed_on = frozenset(map(id, passed_on))
        self.targets: set[str] = set()
        self.assigned: set[str] = set()
        self.augmented: set[str] = set()
        self.changes: dict[int, tuple[str, bool]] = {}
        """By statement: the name whose object it changes, and whether it is something inside of that."""
        self.read: set[str] = set()
        self.called: set[str] = set()
        self.methods: set[tuple[str, str]] = set()
        """Of which names methods are called, and which; "" for one of something that is got from there."""
        self.values: dict[str, list[ast.expr]] = {}
        """By name: what is assigned to it."""

    @cached_property
    def changed(self) -> set[str]:
        return {name for name, _ in self.changes.values()}

    @cached_property
    def fresh(self) -> set[str]:
        """Names that always stand for something that the code has just made."""
        return {
            name
            for name, values in self.values.items()
            if name not in self.targets and all(isinstance(value, DISPLAYS) for value in values)
        }

    # --- expressions ------------------------------------------------------------------------

    def expression(self, node: ast.AST) -> None:
        for each in ast.walk(node):
            if not isinstance(each, EXPRESSIONS):
                raise Refused(type(each).__name__)
            if isinstance(each, ast.Call):
                self._call(each)
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                self.read |= set() if id(each) in self._passed_on else {each.id}
            elif isinstance(each, ast.Attribute) and each.attr not in FIELDS | READING:
                raise Refused(f".{each.attr}")
            elif isinstance(each, ast.comprehension):
                self._clause(each)

    def _call(self, node: ast.Call) -> None:
        if any(keyword.arg in (None, "file") for keyword in node.keywords):
            raise Refused("a keyword")
        if isinstance(node.func, ast.Name):
            self.called.add(node.func.id)
        elif isinstance(node.func, ast.Attribute) and node.func.attr in READING:
            holder = node.func.value
            attr = node.func.attr if isinstance(holder, ast.Name) else ""
            self.methods |= {(each.id, attr) for each in ast.walk(holder) if isinstance(each, ast.Name)}
        else:
            raise Refused("a call")

    def _clause(self, node: ast.comprehension) -> None:
        if node.is_async or not names_only(node.target):
            raise Refused("a comprehension")

    # --- statements -------------------------------------------------------------------------

    def body(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            match statement:
                case ast.Pass() | ast.Continue():
                    continue
                case ast.Assign() | ast.AugAssign():
                    self._assignment(statement)
                case ast.Expr(value=ast.Call(func=ast.Attribute(attr=attr, value=what)) as call) if attr in CHANGING:
                    self._change(statement, what)
                    for part in (*call.args, *call.keywords):
                        self.expression(part)
                case ast.Expr(value=value):
                    self.expression(value)
                case ast.If(test=test, body=yes, orelse=no):
                    self.expression(test)
                    self.body([*yes, *no])
                case ast.For(target=target, iter=values, body=inner, orelse=[]):
                    self.target(target)
                    self.expression(values)
                    self.body(inner)
                case _ if isinstance(statement, self._more):
                    self._in_function(statement)
                case _:
                    raise Refused(type(statement).__name__)

    def _in_function(self, statement: ast.stmt) -> None:
        """What leaves a loop, or a function, early: no loop is looked ahead of here."""
        for _, value in ast.iter_fields(statement):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.expr):
                    self.expression(each)
                elif isinstance(each, ast.ExceptHandler):
                    self.assigned |= {each.name} if each.name else set()
                    self.body(each.body)
                elif isinstance(each, ast.stmt):
                    self.body([each])

    def target(self, node: ast.expr) -> None:
        if not names_only(node):
            raise Refused("a target")
        self.targets |= names(node)

    def _assignment(self, statement: ast.Assign | ast.AugAssign) -> None:
        self.expression(statement.value)
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                self._assign(statement, target, statement.value)
            return
        self._assign(statement, statement.target, statement.value)
        if isinstance(statement.target, ast.Name):
            self.augmented.add(statement.target.id)

    def _assign(self, statement: ast.stmt, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Subscript):
            self.expression(target.slice)
            self._change(statement, target.value)
        elif names_only(target):
            self.assigned |= names(target)
            for name in names(target):
                self.values.setdefault(name, []).append(value if isinstance(target, ast.Name) else target)
        else:
            raise Refused("an assignment")

    def _change(self, statement: ast.stmt, what: ast.expr) -> None:
        """`what` is changed: `x`, or what is inside of it, as in `x[…]` and `x.setdefault(…)`."""
        inside = False
        match what:
            case ast.Subscript(value=ast.Name() as name, slice=key):
                self.expression(key)
                inside = True
            case ast.Call(func=ast.Attribute(attr="setdefault", value=ast.Name() as name), args=args, keywords=[]):
                for part in args:
                    self.expression(part)
                inside = True
            case ast.Name() as name:
                pass
            case _:
                raise Refused("a change")
        if id(statement) in self.changes:
            raise Refused("two changes at once")
        self.changes[id(statement)] = (name.id, inside)


def names_only(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple | ast.List):
        return all(map(names_only, node.elts))
    return isinstance(node, ast.Name)


def names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


# --- the one call -----------------------------------------------------------------------------


def path_to(node: ast.AST, goal: ast.AST) -> Iterator[ast.AST]:
    """From `node` down to `goal`; empty if it is not below."""
    if node is goal:
        yield node
        return
    for child in ast.iter_child_nodes(node):
        if below := list(path_to(child, goal)):
            yield node
            yield from below
            return


def sure(path: list[ast.AST]) -> bool:
    """Whether evaluating the first of these expressions (or simple statements) always evaluates the last, once."""
    for node, child in itertools.pairwise(path):
        match node:
            case ast.BoolOp(values=[first, *_]) if child is not first:
                return False
            case ast.IfExp(test=test) if child is not test:
                return False
            case ast.Compare(left=left, comparators=[second, *_]) if child not in (left, second):
                return False
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return False
    return True


def reached(path: list[ast.AST]) -> bool:
    """The same for a statement in the body of a `for`, but for the conditions of the statements that it is in."""
    first = path[0]
    if isinstance(first, ast.If | ast.For) and isinstance(path[1], ast.stmt):
        return reached(path[1:])
    return sure(path)
