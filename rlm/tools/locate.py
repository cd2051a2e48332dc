"""From `module:function` or `path/to/file.py:function` on the command line to the thing itself."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from rlm.errors import ConfigError
from rlm.tools.failures import reason
from rlm.tools.functions import Function
from rlm.tools.tool import Tool


def load(spec: str) -> Any:
    """The callable, `Tool` or `Function` that `spec` names; attributes of attributes are written with dots.

    While a module is imported, the working directory comes last on `sys.path`, and for a file its own folder:
    neither shadows anything. A file is run once, whatever is loaded from it. Raises `ConfigError`, in one line,
    for all that can go wrong.
    """
    found = load_object(spec)
    if not callable(found) and not isinstance(found, Tool | Function):
        raise ConfigError(f"{spec}: it is of type {type(found).__name__}, and cannot be called")
    return found


def load_object(spec: str) -> Any:
    """The same for a thing of any kind."""
    place, colon, path = spec.rpartition(":")
    if not colon or not place or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigError(f"{spec!r} is not of the form module:function or path/to/file.py:function")
    found: Any = _module(place, spec)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except Exception as error:
            # A module's or an object's `__getattr__` is code of the user's.
            raise ConfigError(f"{spec}: {reason(error)}") from error
    return found


def _module(place: str, spec: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _from_file(Path(place).expanduser().resolve(), spec)
        if not all(part.isidentifier() for part in place.split(".")):
            raise ConfigError(f"{spec}: {place!r} is neither a module's name nor a Python file")
        with _last_on_path(Path.cwd()):
            return importlib.import_module(place)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        # Importing is running it.
        raise ConfigError(f"{spec}: {reason(error)}") from error


def _from_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{spec}: there is no file {path}")
    name = f"_rlm_file_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    plan = importlib.util.spec_from_file_location(name, path)
    if plan is None or plan.loader is None:
        raise ConfigError(f"{spec}: {path} is no Python file")
    module = importlib.util.module_from_spec(plan)
    # Under a name of its own that can be imported: pickle, dataclasses and pydantic look there.
    sys.modules[name] = module
    try:
        with _last_on_path(path.parent):
            plan.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _last_on_path(folder: Path) -> Iterator[None]:
    importlib.invalidate_caches()
    if str(folder) in sys.path:
        yield
        return
    sys.path.append(str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
