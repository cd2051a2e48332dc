"""`Settings`: every option of a run, with its default; the docstring under each field is also its `--help`.

`Settings` itself reads nothing: it checks the values that it is given. `rlm.layers.load_settings`
gathers them from flags, environment and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    ValidationInfo,
    field_validator,
)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_size(value: Any) -> Any:
    """`"4g"`, `"512 MiB"`, `1073741824` -> bytes; units are powers of 1024. Anything else is left to pydantic."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()])) if match else value


def _names_to_mapping(value: Any) -> Any:
    """A list of names is a mapping of names without descriptions."""
    return dict.fromkeys(value, "") if isinstance(value, list | tuple) else value


DEFAULT_BASE_URL = "https://api.openai.com/v1"
"""Where requests go when no endpoint is given."""

Bytes = Annotated[int, BeforeValidator(parse_size), Field(ge=64 << 20)]
Download = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Price(BaseModel):
    """What a model's tokens cost, per million."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    """Input that the endpoint reports as read from its cache; the price of `input` when not given."""


_SECRET_NAMES = ("auth", "key", "token", "secret", "cookie", "password")


def names_a_secret(name: str) -> bool:
    """Whether a header, a parameter or a variable of this name has a value that must never be written down."""
    return any(word in name.lower() for word in _SECRET_NAMES)


def may_hold_keys(name: str, value: Any) -> bool:
    """Whether this value of a setting is better not written down: headers, MCP servers, URLs with a query."""
    return name in ("headers", "mcp") or (name in ("base_url", "sub_base_url") and "?" in str(value))


class Settings(BaseModel):
    """The options of a run. Unknown names and bad values are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    # --- models
    model: str | None = None
    """The root model's name at its endpoint."""
    sub_model: str | None = None
    """The model that answers sub-calls, at every depth; the root model when not given."""
    models: tuple[str, ...] = ()
    """Models by depth instead of the two: root, child, …; the last one holds for all that is deeper."""
    base_url: str | None = None
    """The endpoint (an OpenAI-compatible API), e.g. http://localhost:8000/v1; OPENAI_BASE_URL when not given."""
    sub_base_url: str | None = None
    """The endpoint of sub-calls, if it is another one."""
    api: Literal["chat", "responses"] = "chat"
    """What the endpoint speaks: OpenAI's Chat Completions, or Responses (stateless: nothing is stored there)."""
    sub_api: Literal["chat", "responses"] | None = None
    """What `sub_base_url` speaks; that of the root where it is the same endpoint, else chat."""
    provider: Literal["auto", "openai", "vllm", "ollama", "openrouter", "anthropic", "unknown"] = "auto"
    """Whose endpoint it is, for what is known of it; auto goes by its address. `rlm doctor --model` tries it."""
    api_key: SecretStr = SecretStr("")
    """The endpoint's key; OPENAI_API_KEY when not given, and it may be empty."""
    sub_api_key: SecretStr | None = None
    """The key of `sub_base_url`. The root's key and headers are never sent to another endpoint."""
    headers: dict[str, str] = {}
    """Extra HTTP headers for the endpoint."""
    root_params: dict[str, Any] = {}
    """Parameters of the root model's requests (temperature, reasoning_effort, …), sent as they are."""
    sub_params: dict[str, Any] = {}
    """Parameters of the sub-calls' requests."""
    native_tools: bool = False
    """Offer the REPL to the root model as a native tool, `python(code)`; fenced blocks are understood either way."""
    context_window: PositiveInt | None = None
    """Tokens that the root model can read."""
    sub_context_window: PositiveInt | None = None
    """Tokens that the sub-model can read: the model is told, and longer prompts are refused before they are sent."""
    sub_max_tokens: PositiveInt = 4096
    """Cap on the output tokens of one sub-call."""
    sub_max_turns: PositiveInt = 8
    """Most turns of a sub-LLM that has tools; in the last one it has none."""
    request_timeout: PositiveFloat = 600.0
    """Seconds that one request to a model may take."""
    concurrency: PositiveInt = 256
    """Most requests in flight at one endpoint; fewer when it answers 429."""

    # --- recursion and tools
    route: Literal["rlm", "auto", "llm"] = "rlm"
    """rlm: as ever; llm: one plain call, the input in its prompt; auto: that for short inputs without tools."""
    route_chars: PositiveInt = 20_000
    """With `route` auto: the most characters of input that go into a plain call."""
    depth: int = Field(default=1, ge=0, le=8)
    """0: a model with a REPL and the tools; 1: with sub-LLMs; 2 and more: sub-LLMs that are RLMs themselves."""
    child_concurrency: PositiveInt = 16
    """Most child RLMs alive at the same time, each with a kernel of its own; further ones wait."""
    tools: tuple[Any, ...] = ()
    """Tools for the sub-LLMs: Python functions, as module:function or file.py:function, or `rlm.Tool` objects."""
    mcp: tuple[Any, ...] = ()
    """MCP servers whose tools the sub-LLMs get: a command line, a URL, or `rlm.McpServer` objects."""
    functions: dict[str, Any] = {}
    """Functions for the REPL by name: Python functions, module:function, or `rlm.Function` objects."""
    auto_parallel: bool = True
    """Run loops of single sub-calls concurrently where that is provably the same."""
    cache: Path | None = None
    """A folder that keeps the replies of sub-calls across runs."""
    compact_at: float = Field(default=0.8, ge=0, le=1)
    """Share of the root model's window at which older turns are summed up; 0 never does."""

    # --- limits
    max_turns: PositiveInt = 30
    """Most turns of the root model, and of each child; the best draft is returned after the last one."""
    max_tokens: PositiveInt | None = None
    """Most tokens in all, input and output, root and sub-calls."""
    max_cost: PositiveFloat | None = None
    """Most money in all; needs a price for every model."""
    timeout: PositiveFloat = 3600.0
    """Seconds that the run may take."""
    max_sub_calls: int = Field(default=5000, ge=0)
    """Most sub-calls in all, children included; further ones fail softly and the run goes on."""
    cell_timeout: PositiveFloat = 120.0
    """Seconds that one cell may compute; waiting for sub-calls does not count."""
    output_limit: int = Field(default=8192, ge=256)
    """Characters of a cell's output that the root model sees."""
    prices: dict[str, Price] = {}
    """Prices by model name, per million tokens: [prices."NAME"] with input and output."""

    # --- input
    include: tuple[str, ...] = ()
    """Files of directories and archives to offer, as globs like those of .gitignore: *.py, /src/, docs/**/*.md."""
    exclude: tuple[str, ...] = ()
    """Files and folders of directories and archives to leave out."""
    no_ignore: bool = False
    """Offer also what .gitignore files in a directory leave out."""
    max_documents: int = Field(default=500, ge=0)
    """Most documents (PDF, DOCX, …) that are converted to text; 0 converts none."""
    convert_timeout: PositiveFloat = 120.0
    """Seconds that the conversion of one document may take."""
    max_download: Download = 100 << 20
    """Most bytes of an input that is named by a URL, e.g. 500m."""
    allow_private_urls: bool = False
    """Fetch inputs from addresses too that are not on the public internet."""
    loaders: dict[str, Any] = {}
    """Functions that read files of other kinds, by suffix: module:function, file.py:function, or Python functions."""

    # --- sandbox
    sandbox: Literal["auto", "docker", "bwrap", "process"] = "auto"
    """Where the code runs: docker, bwrap, process (no wall), or auto: docker, else bwrap."""
    runtime: str | None = None
    """A runtime of the Docker engine by its name, such as runsc (gVisor); the engine's default when not given."""
    memory: Bytes | None = None
    """Memory of the sandbox, e.g. 4g; by default the greater of 2g and three times the input."""
    cpus: PositiveFloat = 2.0
    """Processors that the sandbox may use."""
    packages: Annotated[dict[str, str], BeforeValidator(_names_to_mapping)] = {}
    """Packages to install in the sandbox: names, or a table of names with one line of description each."""
    allow_install: tuple[str, ...] = ()
    """Packages that the model may install during the run."""

    # --- prompts and traces
    prompt: str | None = None
    """The root prompt: the name of a shipped one, or a file."""
    tips: str | None = None
    """Advice for this kind of task, added to the root prompt: a text, or a file."""
    cite: bool = False
    """Have the answer quote the input, and look each of its quotations up there."""
    trace_dir: Path | None = None
    """Where traces go; the user's state folder when not given."""
    no_trace: bool = False
    """Write no trace."""
    otel: bool = False
    """Tell the run as OpenTelemetry spans, to where the OTEL_* environment says."""

    @field_validator("runtime")
    @classmethod
    def _only_an_engine_has_runtimes(cls, runtime: str | None, info: ValidationInfo) -> str | None:
        if runtime is not None and info.data.get("sandbox", "auto") not in ("auto", "docker"):
            raise ValueError("only the docker sandbox has runtimes")
        return runtime

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, "…" if value and may_hold_keys(name or "", value) else value

    def model_at(self, depth: int) -> str | None:
        """The model of rollouts at this depth, and of the plain calls that one a level above makes."""
        if self.models:
            return self.models[min(depth, len(self.models) - 1)]
        return self.model if depth == 0 else self.sub_model or self.model

    @property
    def model_names(self) -> list[str]:
        """Every model that may be asked, the root's first."""
        return list(dict.fromkeys(name for depth in range(self.depth + 1) if (name := self.model_at(depth))))

    @property
    def sub_model_name(self) -> str | None:
        """The model of the root's sub-calls."""
        return self.model_at(1)

    @property
    def child_places(self) -> tuple[int, ...]:
        """How many children may be alive at depth 1, 2, …: places that no other depth can take."""
        depths = max(0, self.depth - 1)
        return (max(1, self.child_concurrency // depths),) * depths if depths else ()

    @property
    def same_endpoint(self) -> bool:
        """Whether sub-calls go where the root's requests go, so that key and headers may be shared."""
        return self.sub_base_url is None or self.sub_base_url == self.base_url

    @property
    def api_of_subs(self) -> Literal["chat", "responses"]:
        """What the endpoint of sub-calls speaks."""
        return self.sub_api or (self.api if self.same_endpoint else "chat")

    @property
    def sub_key(self) -> str:
        """The key for sub-calls."""
        if self.sub_api_key is not None:
            return self.sub_api_key.get_secret_value()
        return self.api_key.get_secret_value() if self.same_endpoint else ""

    def limits(self) -> Mapping[str, int | float | None]:
        """The limits, for the trace."""
        names = ("max_turns", "max_tokens", "max_cost", "timeout", "max_sub_calls", "cell_timeout")
        return {name: getattr(self, name) for name in names}
