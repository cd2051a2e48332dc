"""Functions that are sent into the sandbox as source: what goes along from around them, and what cannot."""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from rlm.errors import ConfigError
from rlm.tools.failures import reason
from rlm.tools.signatures import signature_text, written

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class ShippedFunction:
    """A function as text that stands on its own."""

    name: str
    source: str
    """Import lines, the `def`, and `name = …` if that is called otherwise."""
    doc: str
    signature: str
    """`(width: float, height: float) -> float`"""
    summary: str
    """One line for the root model, as in `SignatureText`."""


def ship(
    name: str, function: Callable[..., Any], *, description: str | None = None, known: Collection[str] = ()
) -> ShippedFunction:
    """The source of `function`, to be called `name` in the REPL.

    It must be a `def` at the top of a module or a class, without decorators. Of the names around it, it may use
    builtins, those of the REPL (`known`), modules, and functions and classes that other modules define: imports of
    these are put in front. Raises `ConfigError` that says what cannot go along.
    """
    label = f"function {name!r}"
    plain = _plain(function, label)
    text, definition = _source(plain, label)
    imports: set[str] = set()
    for each in sorted(_names_around(definition)):
        if each in plain.__globals__:
            imports |= _imports(each, plain, definition, label)
        elif not hasattr(builtins, each) and each not in known:
            raise ConfigError(f"{label}: {each!r} is not defined, so the function cannot be shipped")
    parts = ["\n".join(["from __future__ import annotations", *sorted(imports)]), text.strip("\n")]
    if definition.name != name:
        parts.append(f"{name} = {definition.name}")
    doc = inspect.getdoc(plain) or "" if description is None else description
    seen = signature_text(name, doc, inspect.signature(plain), plain.__module__)
    return ShippedFunction(
        name=name,
        source="\n\n\n".join(parts) + "\n",
        doc=doc,
        signature=written(seen["parameters"], seen["returns"]),
        summary=seen["summary"],
    )


def _plain(function: Callable[..., Any], label: str) -> FunctionType:
    if not isinstance(function, FunctionType):
        raise ConfigError(f"{label}: only a plain function can be shipped, not a {type(function).__name__}")
    if function.__name__ == "<lambda>":
        raise ConfigError(f"{label}: a lambda cannot be shipped: write a `def`")
    if hasattr(function, "__wrapped__"):
        raise ConfigError(f"{label}: a decorated function cannot be shipped")
    if function.__closure__:
        names = ", ".join(map(repr, function.__code__.co_freevars))
        raise ConfigError(f"{label}: it uses {names} of the function around it, so it cannot be shipped")
    return function


def _source(function: FunctionType, label: str) -> tuple[str, Definition]:
    try:
        text = textwrap.dedent(inspect.getsource(function))
        (definition,) = ast.parse(text).body
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{label}: its source cannot be had: {reason(error)}") from error
    if not isinstance(definition, Definition):
        raise ConfigError(f"{label}: only a `def` can be shipped")
    if definition.decorator_list:
        raise ConfigError(f"{label}: a decorated function cannot be shipped")
    return text, definition


def _names_around(definition: Definition) -> set[str]:
    """The names that the function finds outside of itself when it is defined or runs."""
    # Annotations are not evaluated in the sandbox.
    bare = _WithoutAnnotations().visit(ast.parse(ast.unparse(definition)))
    module = symtable.symtable(ast.unparse(bare), "shipped", "exec")
    return set(_globals(module)) - {definition.name}


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _imports(name: str, function: FunctionType, definition: Definition, label: str) -> set[str]:
    """The lines that import what `name` is to the function."""
    value = function.__globals__[name]
    if isinstance(value, ModuleType) and value.__name__ not in ("__main__", function.__module__):
        whole = value.__name__
        first = f"import {whole}" if whole == name else f"import {whole} as {name}"
        return {first, *(f"import {each}" for each in _submodules(name, definition) if whole == name)}
    if (home := _home(value)) and home not in ("__main__", function.__module__):
        original = value.__qualname__
        return {f"from {home} import {original}" + (f" as {name}" if original != name else "")}
    raise ConfigError(f"{label}: the global {name!r} cannot go along: define or import it within the function")


def _home(value: object) -> str | None:
    """The module that a function or class is imported from: the outermost, since inner ones differ between versions."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    parts = module.split(".")
    outward = (".".join(parts[: length + 1]) for length in range(len(parts)))
    return next((each for each in outward if getattr(sys.modules.get(each), name, None) is value), None)


def _submodules(package: str, definition: Definition) -> Iterator[str]:
    """`xml.etree.ElementTree`, where the function writes it out: importing `xml` does not import that."""
    for node in ast.walk(definition):
        path = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if path.startswith(f"{package}.") and isinstance(sys.modules.get(path), ModuleType):
            yield path
