"""The tasks of a batch, and the file that holds them: one JSON object per line."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.context import Input, Value
from rlm.errors import InputError

KEYS = ("id", "question", "inputs", "context")
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One question about some inputs, or about a text.

    `id` names the file of its result: letters, digits and `._-`, at most 128, no dot first. Raises `InputError`.
    """

    id: str
    question: str
    inputs: tuple[str | Path, ...] = ()
    """Paths and globs."""
    context: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise InputError(f"not an id (letters, digits, '.', '_' and '-', at most 128): {self.id!r}"[:200])
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError("the question is not a text, or empty")
        if not isinstance(self.inputs, tuple | list) or not all(isinstance(each, str | Path) for each in self.inputs):
            raise InputError("inputs is not a list of paths")
        if any(str(each) in ("", "-") for each in self.inputs):
            raise InputError("an input of a batch is a path: neither empty nor '-'")
        if self.context is not None and not isinstance(self.context, str):
            raise InputError("context is not a text")
        if self.context is not None and self.inputs:
            raise InputError("give either inputs or context")
        object.__setattr__(self, "inputs", tuple(self.inputs))

    @property
    def given(self) -> Sequence[Input]:
        """What its run is about."""
        return self.inputs if self.context is None else (Value(self.context),)

    @property
    def digest(self) -> str:
        """The same for the same question about inputs of the same names, or about the same text."""
        what = [self.question, list(map(str, self.inputs)), self.context]
        return hashlib.blake2b(json.dumps(what).encode(), digest_size=12).hexdigest()


def read_tasks(path: Path) -> list[BatchTask]:
    """The tasks of a file. Paths in it are relative to the file's folder; lines may be blank.

    Raises `InputError` with the line of the first mistake: what is no task, an unknown key, an id again.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            tasks = list(_tasks(file, str(path), path.absolute().parent))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason})") from error
    if not tasks:
        raise InputError(f"{path}: there are no tasks in it")
    return tasks


def _tasks(lines: Iterable[str], name: str, folder: Path) -> Iterator[BatchTask]:
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            task = _task(line, folder)
            if task.id in seen:
                raise InputError(f"the id {task.id!r} is that of line {seen[task.id]}")
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
        seen[task.id] = number
        yield task


def _task(line: str, folder: Path) -> BatchTask:
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})") from None
    if not isinstance(values, Mapping):
        raise InputError("not a JSON object")
    if unknown := sorted(values.keys() - set(KEYS)):
        raise InputError(f"unknown key {unknown[0]!r}; there are {', '.join(KEYS)}")
    if missing := [key for key in ("id", "question") if key not in values]:
        raise InputError(f"there is no {missing[0]}")
    inputs = values.get("inputs") or ()
    if isinstance(inputs, list):
        inputs = tuple(_beside(each, folder) for each in inputs)
    return BatchTask(values["id"], values["question"], inputs, values.get("context"))


def _beside(name: Any, folder: Path) -> Any:
    """A path or a glob of the file, which stays the same wherever the command is called from."""
    if not isinstance(name, str) or name in ("", "-"):
        return name  # refused, like all that is no path
    path = os.path.join(folder, name)
    if _URL.match(name) or os.path.isabs(name) or not glob.has_magic(name) or os.path.lexists(path):
        return name if _URL.match(name) else path
    return os.path.join(glob.escape(str(folder)), name)
