"""How a value of one kernel becomes the `context` of a child: by a descriptor, or a file in the sandbox's memory.

A descriptor is a small JSON object. It goes through the host, which passes it on as it is:

    {"as": "none"}                        None
    {"as": "input", "key": …}             what the zygote holds: all of it, or without a key, one of its inputs
    {"as": "file", "path", "binary"}      a file of the input, read as `Files` reads it
    {"as": "text", "path", "start", "end"}    a slice of a `Text`
    {"as": "str", "path"}                 a str, written to a file in UTF-8
    {"as": "pickle", "path"}              anything else that pickles; a `Text` or `Files` within it goes by descriptor

A value is written once however many children get it at the same time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from guest import values
from guest.files import Files
from guest.text import Text

Descriptor = dict[str, Any]


class Passed(NamedTuple):
    """A value for a child."""

    descriptor: Descriptor
    key: str
    """Equal for equal contents, wherever they were written to."""


class CannotPass(Exception):
    """The value cannot be handed to a child; `kind` is that of the `CallError`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Contexts:
    """Describes values of this kernel for children, and keeps the files that they need."""

    def __init__(self, folder: str, context: object, own: Passed) -> None:
        """`context` is this kernel's own, which `own` describes; `folder` is one that can be written to."""
        self._parent = folder
        self._folder = ""
        self._context = context
        self._own = own
        self._uses: Counter[str] = Counter()

    def describe(self, value: object) -> Passed:
        """Raises `CannotPass`. To be followed by `release`, when no child needs it any more."""
        if value is self._context:
            return self._own
        if (found := self._known(value)) is not None:
            return Passed(found, json.dumps(found))
        try:
            if isinstance(value, str):
                return self._written("str", str(value).encode())
            return self._written("pickle", _pickle(value, self._known))
        except UnicodeEncodeError:
            return self._written("pickle", _pickle(str(value), self._known))

    def release(self, passed: Passed) -> None:
        """One child less needs it."""
        path = passed.descriptor.get("path", "")
        if path not in self._uses:
            return
        self._uses[path] -= 1
        if not self._uses[path]:
            del self._uses[path]
            Path(path).unlink(missing_ok=True)

    def _known(self, value: object) -> Descriptor | None:
        """The descriptor of what lies in a file, or in the zygote, already."""
        if value is None:
            return {"as": "none"}
        if value is self._context:
            return self._own.descriptor
        if isinstance(value, Text):
            return {"as": "text", **value.descriptor()}
        return self._part_of_context(value)

    def _part_of_context(self, value: object) -> Descriptor | None:
        context = self._context
        if isinstance(context, Files):
            return _file(context, value)
        if isinstance(context, dict) and self._own.descriptor == {"as": "input"}:
            for key, part in context.items():
                if part is value and not isinstance(value, (bool, int, float)):
                    return {"as": "input", "key": key}
                if isinstance(part, Files) and (found := _file(part, value)) is not None:
                    return found
        return None

    def _written(self, kind: str, data: bytes) -> Passed:
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        try:
            if not self._folder:
                self._folder = tempfile.mkdtemp(prefix="rlm-contexts-", dir=self._parent)
            path = os.path.join(self._folder, digest)
            if path not in self._uses:
                _write(path, data)
        except OSError as error:
            raise CannotPass("too_long", f"{len(data):,} bytes of context: {error.strerror}") from error
        self._uses[path] += 1
        return Passed({"as": kind, "path": path}, f"{kind} {digest}")


def _write(path: str, data: bytes) -> None:
    try:
        with open(path, "xb") as file:
            file.write(data)
    except OSError:
        Path(path).unlink(missing_ok=True)
        raise


def load(descriptor: Descriptor, inputs: object, *, str_max: int) -> object:
    """The context of a child, in the child; `inputs` is what the zygote holds."""
    match descriptor["as"]:
        case "none":
            return None
        case "input":
            return inputs[descriptor["key"]] if "key" in descriptor else inputs  # type: ignore[index]
        case "file":
            return values.read(descriptor["path"], str_max=str_max)
        case "text":
            return Text.open(descriptor["path"], descriptor["start"], descriptor["end"])
        case "str":
            return values.read_text(descriptor["path"], str_max=str_max)
        case "pickle":
            with open(descriptor["path"], "rb") as file:
                return _Unpickler(file, inputs, str_max).load()
        case kind:
            raise ValueError(f"a context {kind!r}")


def _file(files: Files, value: object) -> Descriptor | None:
    path = files.path_of(value)
    return None if path is None else {"as": "file", "path": path}


def _pickle(value: object, known: Callable[[object], Descriptor | None]) -> bytes:
    out = io.BytesIO()
    try:
        _Pickler(out, value, known).dump(value)
    except Exception as error:
        # Whatever the value's own code raises: it cannot be passed on.
        message = f"a context must be a str, a slice of `context`, or plain data; {type(value).__name__}: {error}"
        raise CannotPass("invalid", message[:500]) from error
    return out.getvalue()


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, value: object, known: Callable[[object], Descriptor | None]) -> None:
        super().__init__(out, protocol=5)
        self._value = value
        self._known = known

    def persistent_id(self, found: Any) -> Descriptor | None:
        if isinstance(found, Text | Files):
            descriptor = self._known(found)
            if descriptor is None:
                raise TypeError("a part of the input that is not `context` itself")
            return descriptor
        if isinstance(found, type) and found.__module__ == "__main__":
            raise TypeError(f"{found.__name__} is a class of your own, which a child does not have")
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, inputs: object, str_max: int) -> None:
        super().__init__(file)
        self._inputs = inputs
        self._str_max = str_max

    def persistent_load(self, descriptor: Descriptor) -> object:
        return load(descriptor, self._inputs, str_max=self._str_max)
