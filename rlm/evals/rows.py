"""The raw rows of an evaluation: one JSON object per run, only ever appended."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rlm.batches import folderlock
from rlm.errors import ConfigError, InputError
from rlm.result import RunResult

FILE = "rows.jsonl"
GOLD_CHARS = 200

Key = tuple[str, str, str, str, str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task in one arm."""

    env: str
    options: str
    """A digest of the environment's options."""
    arm: str
    model: str
    sub_model: str
    seed: int
    index: int
    task_id: str
    reward: float
    """0 to 1; 0 where the run failed."""
    metrics: dict[str, float] = field(default_factory=dict)
    answer: str = ""
    gold: str = ""
    """As JSON, at most 200 characters of it."""
    root_input: int = 0
    root_output: int = 0
    sub_input: int = 0
    sub_output: int = 0
    """Tokens, as the endpoint reported them."""
    sub_calls: int = 0
    estimated: bool = False
    """Whether some of the tokens are estimates."""
    cost: float | None = None
    seconds: float = 0.0
    turns: int = 0
    stop_reason: str = ""
    """That of the run, or `too_long`: the input fits no prompt of the model, which is a result and not a fault."""
    error: str | None = None
    """Why the run could not be carried out; such a row has no part in the figures."""
    run_id: str = ""
    trace: str = ""
    """Relative to the folder of the rows."""
    context_chars: int = 0
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What was tried: a second row with the same one takes the place of the first."""
        return (self.env, self.options, self.arm, self.model, self.sub_model, self.seed, self.index)

    @property
    def task(self) -> tuple[str, str, int, int]:
        """The same in every arm and for every model."""
        return (self.env, self.options, self.seed, self.index)


def digest(options: dict[str, Any]) -> str:
    """Of an environment's options as JSON."""
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:10]


def spent(result: RunResult) -> dict[str, Any]:
    """What a run took, as fields of a row."""
    root, sub = result.usage.root, result.usage.sub
    return {
        "root_input": root.input_tokens,
        "root_output": root.output_tokens,
        "sub_input": sub.input_tokens,
        "sub_output": sub.output_tokens,
        "sub_calls": sub.calls,
        "estimated": root.estimated or sub.estimated,
        "cost": result.cost,
        "seconds": round(result.seconds, 3),
        "turns": result.turns,
        "stop_reason": result.stop_reason,
        "answer": result.answer,
        "run_id": result.run_id,
    }


def short(value: Any) -> str:
    """A gold for the row."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= GOLD_CHARS else text[: GOLD_CHARS - 1] + "…"


class RowFile:
    """The file of one evaluation. One process at a time appends to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from playing into this folder. Raises `ConfigError` if one does."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"cannot write to {self.path.parent}: {error.strerror or error}") from error
        try:
            folderlock.take(fd, self.path.parent, what="an evaluation")
            yield
        finally:
            os.close(fd)

    def read(self) -> list[Row]:
        """The latest row of each key, in the order of the file. A line that was cut off is left out.

        Raises `InputError` for a file that is none of rows.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        rows = [_row(line, f"{self.path}:{number}") for number, line in enumerate(lines[:-1], 1) if line.strip()]
        return list({row.key: row for row in rows if row}.values())

    def append(self, row: Row) -> None:
        """One write, so that no reader and no killed process leaves half a line among whole ones."""
        data = json.dumps(asdict(row), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data
            os.write(fd, data)
        finally:
            os.close(fd)


_NAMES = {each.name for each in fields(Row)}


def _row(line: bytes, place: str) -> Row | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None  # cut off when its process was killed
    if not isinstance(values, dict):
        raise InputError(f"{place}: not a row")
    try:
        return Row(**{name: value for name, value in values.items() if name in _NAMES})
    except TypeError as error:
        raise InputError(f"{place}: not a row ({error})") from None


def total_cost(rows: Iterable[Row]) -> float:
    """Money of all rows whose price is known."""
    return sum(row.cost or 0.0 for row in rows)
