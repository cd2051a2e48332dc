"""What a run returns: the same names in Python and in `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlm.errors import RLMError, exit_code_of
from rlm.events import SCHEMA_VERSION
from rlm.resulthtml import to_html

StopReason = Literal[
    "answered", "max_turns", "max_tokens", "max_cost", "timeout", "loop", "interrupted", "error"
]  # fmt: skip

_EXIT_CODES = {"answered": 0, "interrupted": 130}
_LIMIT_REACHED = 3
SHOWN = 200
"""Characters of an answer in a `repr`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kind of calls consumed. Tokens are the endpoint's figures where it sends them."""

    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    """Requests made, retries included."""
    cached_calls: int = 0
    """Calls answered from the memo; not among `calls`."""
    estimated: bool = False
    """Whether some of the tokens are estimates."""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class RunUsage:
    """The root's usage and that of all sub-calls, apart."""

    root: Usage = field(default_factory=Usage)
    sub: Usage = field(default_factory=Usage)

    def to_dict(self) -> dict[str, Any]:
        return {"root": self.root.to_dict(), "sub": self.sub.to_dict()}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run ended with `stop_reason="error"`."""

    type: str
    """The name of the exception in `rlm.errors`."""
    message: str
    exit_code: int = 1

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        code = error.exit_code if isinstance(error, RLMError) else RLMError.exit_code
        return cls(type(error).__name__, str(error) or type(error).__name__, code)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, "message": self.message}


@dataclass(frozen=True, slots=True)
class Citation:
    """One quotation of an answer, looked up in the input."""

    number: int
    """1, 2, 3 … in the order of the answer."""
    quote: str
    status: Literal["found", "missing", "unchecked"]
    """`missing`: it is not in the input; `unchecked`: there was no time to look everywhere."""
    file: str | None = None
    """The input that has it, as the caller named it, with the path in a folder; None if it was not found."""
    start: int | None = None
    """Its first character in the text of that file, counted from 0."""
    end: int | None = None
    """One past its last character."""
    line: int | None = None
    """The line on which it begins, counted from 1."""
    exact: bool | None = None
    """False if the text has other spacing, quotation marks or dashes."""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, repr=False)
class RunResult:
    """The outcome of a run; always there, also when the run failed or was interrupted."""

    answer: str
    """The answer, or the best draft when `stop_reason` is not `answered`; may be empty."""
    ready: bool
    """Whether the model declared the answer final."""
    stop_reason: StopReason
    turns: int
    usage: RunUsage
    cost: float | None
    """Money, in the unit of the price table; None when a price is not known."""
    seconds: float
    run_id: str
    trace: Path | None = None
    """The file of the run's events; None with `no_trace`."""
    error: Failure | None = None
    schema_version: int = SCHEMA_VERSION
    citations: tuple[Citation, ...] | None = None
    """With `cite`: the answer's quotations, each found in the input or not; else None."""
    metrics: dict[str, Any] = field(default_factory=dict, hash=False)
    """The run in figures, as plain JSON (see `rlm.metrics`)."""

    def __repr__(self) -> str:
        answer = self.answer if len(self.answer) <= SHOWN else self.answer[:SHOWN] + "…"
        error = f", error={self.error.type!r}" if self.error else ""
        how = f"stop_reason={self.stop_reason!r}, turns={self.turns}, seconds={self.seconds:.1f}{error}"
        return f"RunResult(answer={answer!r}, {how}, run_id={self.run_id!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return to_html(self.to_dict())

    @property
    def trace_path(self) -> Path | None:
        return self.trace

    @property
    def exit_code(self) -> int:
        """What the command line returns: 0 answered, 3 a limit, 130 interrupted, else the error's own code."""
        if self.error is not None:
            return self.error.exit_code
        return _EXIT_CODES.get(self.stop_reason, _LIMIT_REACHED)

    @classmethod
    def without_run(cls, error: BaseException | None, *, run_id: str = "", seconds: float = 0.0) -> RunResult:
        """Of a run that came to nothing: `error` says why, None that it was interrupted."""
        return cls(
            answer="",
            ready=False,
            stop_reason="error" if error else "interrupted",
            turns=0,
            usage=RunUsage(),
            cost=None,
            seconds=seconds,
            run_id=run_id,
            error=Failure.of(error) if error else None,
        )

    @classmethod
    def from_dict(cls, result: Mapping[str, Any]) -> RunResult:
        """What `to_dict` made."""
        usage = {kind: Usage(**result["usage"][kind]) for kind in ("root", "sub")}
        error, cited = result["error"], result.get("citations")
        names = ("answer", "ready", "stop_reason", "turns", "cost", "seconds", "run_id", "schema_version")
        return cls(
            **{name: result[name] for name in names},
            usage=RunUsage(**usage),
            trace=Path(result["trace"]) if result["trace"] else None,
            error=Failure(error["type"], error["message"], exit_code_of(error["type"])) if error else None,
            citations=None if cited is None else tuple(Citation(**each) for each in cited),
            metrics=result.get("metrics", {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, the object that `--json` prints."""
        return {
            "schema_version": self.schema_version,
            "answer": self.answer,
            "ready": self.ready,
            "stop_reason": self.stop_reason,
            "error": self.error.to_dict() if self.error else None,
            "turns": self.turns,
            "usage": self.usage.to_dict(),
            "cost": self.cost,
            "seconds": round(self.seconds, 3),
            "run_id": self.run_id,
            "trace": str(self.trace) if self.trace else None,
            "citations": None if self.citations is None else [citation.to_dict() for citation in self.citations],
            "metrics": self.metrics,
        }
