"""What the parts of `rlm` promise each other; no implementation is imported here.

`Model` is a chat endpoint, `Kernel` a Python REPL behind a wall, `Launcher` the wall itself
(docker, bubblewrap, a plain process), `Emit` where events go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

Message = dict[str, Any]
"""One chat message in the OpenAI Chat Completions shape: `{"role": …, "content": …}`."""


class Emit(Protocol):
    """Records one event; see `rlm.events` for the types and their fields."""

    def __call__(self, type_: str, /, **fields: Any) -> None: ...


# --- models ---------------------------------------------------------------------------------


class Tokens(NamedTuple):
    """Token counts of one request, as the endpoint reported them (or estimated)."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One whole reply."""

    text: str
    tokens: Tokens
    model: str
    finish_reason: str | None = None
    attempts: int = 1
    """Requests that it took, retries included."""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """Tool calls in the Chat Completions shape."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One piece of a streamed reply. The last one carries `tokens` where the endpoint sends them."""

    text: str = ""
    tool_call: Mapping[str, Any] | None = None
    """A piece of a native tool call: `{"index": int, "id": str, "name": str, "arguments": str}`."""
    tokens: Tokens | None = None
    finish_reason: str | None = None
    attempts: int = 0
    """On the first delta: the requests that it took to get a stream, retries included."""


class Model(Protocol):
    """A chat endpoint with one model behind it. Errors: `rlm.errors.ModelError` and its kinds."""

    name: str
    context_window: int | None
    """Tokens; None when unknown."""

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Completion:
        """One reply, whole. The hot path of sub-calls. `params` go into the request body as they are.

        The error of a call that is cancelled may say in `attempts` how many requests were made, as a
        `ModelError` does (`rlm.errors.attempts_of`).
        """
        ...

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[Delta]:
        """One reply, in pieces. Closing the iterator early ends the request."""
        ...

    async def aclose(self) -> None: ...


# --- tools ----------------------------------------------------------------------------------


class ToolOutput(NamedTuple):
    """What a tool call of a sub-LLM came to."""

    text: str
    """For the model: the result or what went wrong, cut to the tool's limit."""
    failed: bool = False
    seconds: float = 0.0


class SubTools(Protocol):
    """The tools of sub-LLMs."""

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """In the OpenAI Chat Completions shape; always in the same order."""
        ...

    @property
    def version(self) -> str:
        """A digest of the definitions."""
        ...

    async def call(self, name: str, arguments: str) -> ToolOutput:
        """Run one with a model's JSON arguments. Never raises for what they or the tool do."""
        ...


# --- kernels --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Death:
    """Why a kernel ended."""

    reason: Literal["oom", "crash", "killed", "lost"]
    """`oom`: the memory limit; `crash`: a signal or an exit of its own; `killed`: by the host, after
    an interrupt that it ignored; `lost`: the whole sandbox went away."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CellError:
    """The exception that ended a cell."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the user's namespace, for the model to see."""

    name: str
    type: str
    size: str
    """A human-readable measure: `len 12,345`, `(3, 4) float64`, …; may be empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The `answer` dict as the guest last reported it. All of it is untrusted text."""

    content: str = ""
    ready: bool = False
    version: int = 0


CellStatus = Literal["ok", "error", "interrupted", "timeout", "died"]


@dataclass(frozen=True, slots=True)
class CellResult:
    """What one cell did.

    `output` holds stdout, stderr, reprs and child processes' output in the order in which they came,
    already cut to a head and a tail by the guest; `omitted` counts the characters left out between
    `output` (head) and `output_tail`.
    """

    status: CellStatus
    output: str = ""
    output_tail: str = ""
    omitted: int = 0
    error: CellError | None = None
    variables: tuple[Variable, ...] = ()
    """New or changed by this cell."""
    notices: tuple[str, ...] = ()
    """Remarks of the guest for the model: a rebound `answer`, a restored helper, a child that ran out of memory."""
    answer: Answer = field(default_factory=Answer)
    seconds: float = 0.0
    active_seconds: float = 0.0
    """Wall time less the time spent waiting for sub-calls."""
    death: Death | None = None
    cell: int = 0
    """The cell's number in its kernel, which will say how much of the input it has read by then; 0 if it will not."""


class Kernel(Protocol):
    """A persistent Python REPL behind a wall. Not safe for concurrent `execute`."""

    async def start(self) -> None:
        """Raises `SandboxUnavailable` or `SandboxError`."""
        ...

    async def execute(self, code: str, *, timeout: float | None = None, said: str = "") -> CellResult:
        """Run one cell. `timeout` counts active seconds; `said` is what the model wrote around it, for `history`.

        Never raises for what the code does: a dead kernel is `status="died"`, and the next `execute`
        finds a fresh one with the input loaded again. Raises `SandboxError` when no fresh one can be had.
        Cancelling it interrupts the cell.
        """
        ...

    async def interrupt(self) -> None:
        """Interrupt the running cell: SIGINT, then after 2 s SIGKILL and a fresh kernel."""
        ...

    async def aclose(self) -> None:
        """End the kernel, and a cell that runs in it. Idempotent."""
        ...


class Process(Protocol):
    """A started sandbox: a duplex byte stream to its agent, and the power to end it."""

    async def read(self) -> bytes:
        """The next bytes of the agent's stdout; `b""` at the end."""
        ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    async def kill(self) -> None:
        """End everything in the sandbox at once."""
        ...

    async def wait(self) -> Death:
        """Wait until the sandbox is gone; says why."""
        ...

    async def aclose(self) -> None:
        """Kill it if it lives, and remove what it left."""
        ...

    def stderr_tail(self) -> str:
        """The last lines that the agent wrote to stderr, for error messages."""
        ...


@dataclass(frozen=True, slots=True)
class Mount:
    """One read-only mount of the sandbox."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a launcher needs to know to start one sandbox."""

    run_id: str
    mounts: tuple[Mount, ...] = ()
    memory: int = 2 << 30
    """Bytes, swap included."""
    cpus: float = 2.0
    pids: int = 256
    tmp_bytes: int = 512 << 20
    config: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON for the guest: where the input lies, what to build from it."""


class Launcher(Protocol):
    """Where a sandbox lives: `docker`, `bwrap`, `process`."""

    name: str

    async def check(self) -> None:
        """Raise `SandboxUnavailable`, with the way to mend it, if no sandbox can be started here."""
        ...

    async def launch(self, spec: SandboxSpec) -> Process: ...


# --- sub-calls: what the bridge hands over, and gets back ---------------------------------------

Item = tuple[int, dict[str, Any]]
"""The outcome of one prompt: its index, and either
`{"text", "model", "input_tokens", "output_tokens", "cached"}`, with `data` where a schema was asked for,
or `{"error": {"kind", "message"}}` with a kind of
`budget, too_long, timeout, endpoint, auth, cancelled, invalid`."""

Deliver = Callable[[list[Item]], None]
"""Takes outcomes, in any order, as they arrive; each was recorded before it is delivered."""


class OpenBatch(Protocol):
    """One `llm_batch` of the guest, while its prompts arrive and its outcomes go back."""

    def add(self, index: int, prompt: Any) -> None:
        """Accept one prompt (hostile JSON: a string, a message list, or an object) and start on it.

        A prompt that is not usable becomes a `CallError` item of kind `invalid`; never raises.
        """
        ...

    def cancel(self) -> None:
        """Stop what runs; every prompt without an outcome gets one of kind `cancelled`."""
        ...

    async def wait(self) -> None:
        """Returns when every one of the batch's prompts has an outcome that was delivered."""
        ...


class SubCalls(Protocol):
    """The scheduler of sub-calls, as the bridge sees it: one per run tree."""

    def open_batch(self, size: int, options: Mapping[str, Any], deliver: Deliver) -> OpenBatch:
        """`options` is hostile JSON. Raises `ValueError` with a message for the model if unusable."""
        ...


Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Serves one other request of the guest; what it returns goes back as JSON."""
