"""A function's parameters: as a JSON Schema for models, and as a check of what models send."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from rlm.errors import ConfigError
from rlm.tools.docstrings import parameter_docs
from rlm.tools.failures import ToolFailure, one_line, reason

MAX_PROBLEMS = 5
"""Mistakes of one call that its error names."""


class Parameters:
    """The parameters of `function`; those that a `functools.partial` fixed are its own business, and not offered.

    `label` names it in errors. Raises `ConfigError` for a signature that no JSON object can be bound to.
    """

    def __init__(self, function: Callable[..., Any], doc: str, *, label: str) -> None:
        self.signature = _signature(function, label)
        # Fields have names of ours: pydantic forbids some that a parameter may have, such as `_x`.
        self._names = {f"p{index}": name for index, name in enumerate(self.signature.parameters)}
        self._model = self._make_model(function, label)
        self.schema = self._make_schema(doc, label)

    def bind(self, arguments: Mapping[str, Any]) -> inspect.BoundArguments:
        """Check and convert `arguments`. Raises `ToolFailure` that says what is wrong with them."""
        try:
            checked = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolFailure(f"bad arguments: {_problems(error)}") from None
        except Exception as error:
            # A validator of the user's own type may raise anything.
            raise ToolFailure(f"bad arguments: {reason(error)}") from error
        bound = self.signature.bind_partial()
        for field, name in self._names.items():
            if field in checked.model_fields_set:
                bound.arguments[name] = getattr(checked, field)
        bound.apply_defaults()
        return bound

    def _make_model(self, function: Callable[..., Any], label: str) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        for field, name in self._names.items():
            parameter = self.signature.parameters[name]
            annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
            if parameter.default is parameter.empty:
                fields[field] = (annotation, Field(alias=name))
            else:
                # The default itself stays with the function: pydantic would copy it for each call.
                fields[field] = (annotation, Field(alias=name, default_factory=_none))
        module = getattr(inspect.unwrap(innermost(function)), "__module__", None)
        try:
            return create_model(
                "Arguments", __config__=ConfigDict(extra="forbid"), __module__=module or __name__, **fields
            )
        except Exception as error:
            # To make a model of annotations is to run code of the user's.
            raise ConfigError(f"{label}: {_first_line(error)}") from error

    def _make_schema(self, doc: str, label: str) -> dict[str, Any]:
        try:
            schema = self._model.model_json_schema(schema_generator=_WithoutTitles)
        except Exception as error:
            raise ConfigError(f"{label}: {_first_line(error)}") from error
        schema.pop("title", None)
        properties: dict[str, Any] = schema["properties"]
        for name, parameter in self.signature.parameters.items():
            if parameter.default is not parameter.empty and (default := _as_json(parameter.default)) is not _NO_JSON:
                properties[name]["default"] = default
        for name, text in parameter_docs(doc).items():
            if name in properties and text:
                properties[name].setdefault("description", text)
        return schema


class _WithoutTitles(GenerateJsonSchema):
    """Models gain nothing from a title that repeats the name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a `functools.partial` calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _signature(function: Callable[..., Any], label: str) -> inspect.Signature:
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:
        # Annotations that are strings are evaluated, and can fail like any code.
        raise ConfigError(f"{label}: its signature cannot be read: {reason(error)}") from error
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [each for each in signature.parameters.values() if each.name not in fixed]
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise ConfigError(f"{label}: a parameter like {str(each)!r} cannot be described to a model")
        if isinstance(each.default, FieldInfo):
            raise ConfigError(f"{label}: {each.name}: write Annotated[TYPE, Field(…)], not a default of Field(…)")
    return signature.replace(parameters=parameters)


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        told.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return one_line("; ".join(told))


def _first_line(error: Exception) -> str:
    """What pydantic says, without its advice."""
    return one_line(str(error).partition("\n")[0].partition(". ")[0])


def _none() -> None:
    return None


_NO_JSON = object()


def _as_json(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except (ValueError, TypeError, RecursionError):
        return _NO_JSON
