"""The folder of a batch: a result for each id, and the journal of its runs.

    DIR/<id>.json       the object that `rlm ask --json` prints
       /batch.jsonl     which run belongs to which task, and what it cost; only ever appended
       /traces/         the runs' own folders

All of it is readable by its owner only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.batches import folderlock
from rlm.errors import ConfigError, InputError, RLMError
from rlm.result import RunResult
from rlm.trace.records import redactor
from rlm.trace.store import private_dir

JOURNAL = "batch.jsonl"
TRACES = "traces"


@dataclass(slots=True)
class Attempt:
    """One run of a task, as the journal knows it."""

    id: str
    """The task's."""
    task: str
    """The task's digest."""
    run_id: str
    stop_reason: str | None = None
    """None for a run that has not ended."""
    cost: float | None = None


class Folder:
    """The folder of one batch, made if need be, and locked for this process until `close`.

    Raises `ConfigError` if it cannot be written to, or another process plays a batch into it.
    """

    def __init__(self, path: Path, *, secrets: Iterable[str] = ()) -> None:
        self.path = path.expanduser().absolute()
        self.traces = self.path / TRACES
        self._redact = redactor(tuple(secrets), inner=True)
        self.attempts: dict[str, Attempt] = {}
        """By the run's id, in the order in which they began."""
        try:
            private_dir(self.path)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path / JOURNAL, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write to {self.path}: {error.strerror or error}") from error
        try:
            folderlock.take(self._fd, self.path, what="a batch")
            self._read()
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)

    # --- results

    def place(self, id_: str) -> Path:
        return self.path / f"{id_}.json"

    def result(self, id_: str) -> RunResult | None:
        """The result of this id, if there is one. Raises `InputError` for a file that is none."""
        place = self.place(id_)
        try:
            return RunResult.from_dict(json.loads(place.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"cannot read {place}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{place} is not the result of a run") from error

    def keep(self, id_: str, result: RunResult) -> None:
        """The result of this id: whole or not at all, whenever this process is killed. Raises `RLMError`."""
        draft = self.path / f".{id_}.json.part"
        data = self._redact(json.dumps(result.to_dict(), ensure_ascii=False).encode("utf-8", "backslashreplace"))
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data + b"\n")
            draft.replace(self.place(id_))
        except OSError as error:
            raise RLMError(f"cannot write {self.place(id_)}: {error.strerror or error}") from error

    # --- the journal

    def began(self, id_: str, task: str, run_id: str) -> None:
        """Written before anything of the run is done, so that it is found again."""
        self.attempts[run_id] = Attempt(id_, task, run_id)
        self._append({"id": id_, "task": task, "run_id": run_id})

    def ended(self, run_id: str, stop_reason: str, cost: float | None) -> None:
        attempt = self.attempts[run_id]
        attempt.stop_reason, attempt.cost = stop_reason, cost
        self._append({"run_id": run_id, "stop_reason": stop_reason, "cost": cost})

    def latest(self) -> dict[str, Attempt]:
        """The last attempt at each task."""
        return {attempt.id: attempt for attempt in self.attempts.values()}

    def _append(self, line: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")

    def _read(self) -> None:
        size = os.fstat(self._fd).st_size
        data = os.pread(self._fd, size, 0)
        if data and not data.endswith(b"\n"):
            os.write(self._fd, b"\n")  # its process was killed in the middle of a line
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                self._take(line, number)

    def _take(self, line: bytes, number: int) -> None:
        try:
            values = json.loads(line)
        except ValueError:
            return  # cut off
        try:
            if "id" in values:
                self.attempts[values["run_id"]] = Attempt(values["id"], values["task"], values["run_id"])
            else:
                attempt = self.attempts[values["run_id"]]
                attempt.stop_reason, attempt.cost = values["stop_reason"], values["cost"]
        except (TypeError, KeyError) as error:
            raise InputError(f"{self.path / JOURNAL}, line {number}: not of a batch") from error
