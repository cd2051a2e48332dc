"""What `rlm doctor` looks at, one function per check. All of them block."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rlm.errors import ConfigError, ModelError, RLMError, SandboxError, SandboxUnavailable

if TYPE_CHECKING:
    import httpx

    from rlm.config import Settings
    from rlm.kernels.limits import Strength

Status = Literal["ok", "note", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and how to mend it."""

    name: str
    status: Status
    detail: str
    fix: str = ""
    exit_code: int = 0
    """What a failure of this check alone makes of the exit code; 0 if a run is possible without it."""


def python() -> Check:
    """The interpreter."""
    version = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    return Check("python", "ok", version)


def configuration(flags: Mapping[str, Any]) -> tuple[Check, Settings | None]:
    """The layers of settings, and what they come to."""
    from rlm.layers import load_settings

    try:
        return Check("configuration", "ok", "readable"), load_settings(flags)
    except ConfigError as error:
        return Check("configuration", "fail", str(error), "mend or remove that key", ConfigError.exit_code), None


def sandboxes() -> Iterator[Check]:
    """Docker, its image and bubblewrap, each by trying; then whether a run would find one of them."""
    docker = _docker()
    bwrap = _bwrap()
    yield docker
    if docker.status == "ok":
        yield _image()
    yield bwrap
    usable = [check.name for check in (docker, bwrap) if check.status == "ok"]
    if usable:
        yield Check("sandbox", "ok", f"auto takes {usable[0]}")
    else:
        fix = "start a Docker engine, or install bubblewrap (apt install bubblewrap)"
        yield Check("sandbox", "fail", "neither docker nor bwrap works here", fix, SandboxError.exit_code)


def leftovers() -> Check:
    """Sandboxes of host processes that died."""
    from rlm.kernels.leases import list_leftovers

    try:
        found = list_leftovers()
    except (RLMError, OSError) as error:
        return Check("leftovers", "note", f"cannot be listed: {error}")
    if not found:
        return Check("leftovers", "ok", "none")
    names = ", ".join(f"{item.kind} {item.name}" for item in found[:5])
    return Check("leftovers", "note", f"{len(found)}: {names}", "rlm image prune")


def state_folder(settings: Settings) -> Check:
    """Whether traces can be written."""
    from rlm.trace.store import private_dir, runs_dir

    folder = runs_dir(settings.trace_dir)
    if settings.no_trace:
        return Check("traces", "note", "switched off (no_trace)")
    try:
        with tempfile.TemporaryFile(dir=private_dir(folder)):
            return Check("traces", "ok", f"{folder} is writable")
    except OSError as error:
        fix = "choose another folder with --trace-dir, or use --no-trace"
        return Check("traces", "fail", f"{folder}: {error.strerror or error}", fix, ConfigError.exit_code)


def endpoint(settings: Settings) -> Check:
    """Whether the root's endpoint answers with this key; asks for its list of models, which costs nothing."""
    if settings.base_url is None and not settings.api_key.get_secret_value():
        fix = "set OPENAI_API_KEY, or --base-url (RLM_BASE_URL) for another endpoint"
        return Check("endpoint", "note", "none is configured", fix)
    import httpx

    url = (settings.base_url or "https://api.openai.com/v1").rstrip("/") + "/models"
    headers = dict(settings.headers)
    if key := settings.api_key.get_secret_value():
        headers.setdefault("Authorization", f"Bearer {key}")
    try:
        reply = httpx.get(url, headers=headers, timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        fix = "is the server running, and the URL right? It usually ends in /v1"
        return Check("endpoint", "fail", f"{url}: {error or type(error).__name__}", fix, ModelError.exit_code)
    return _judge(url, reply, settings.model)


def _judge(url: str, reply: httpx.Response, model: str | None) -> Check:
    if reply.status_code in (401, 403):
        fix = "check OPENAI_API_KEY (or RLM_API_KEY)"
        return Check("endpoint", "fail", f"{url} refuses the key ({reply.status_code})", fix, ModelError.exit_code)
    if reply.status_code >= 500:
        return Check("endpoint", "fail", f"{url} answers {reply.status_code}", "try later", ModelError.exit_code)
    if reply.status_code != 200:
        return Check("endpoint", "note", f"{url} answers {reply.status_code}: it may not list models")
    names = _model_names(reply)
    if model is not None and names and model not in names:
        return Check("endpoint", "note", f"{url} answers, but does not list the model {model!r}", "check --model")
    return Check("endpoint", "ok", f"{url} answers, {len(names)} models")


def _model_names(reply: httpx.Response) -> set[str]:
    try:
        return {str(item["id"]) for item in reply.json()["data"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _docker() -> Check:
    from rlm.kernels import engine

    try:
        client = engine.connect()
    except SandboxUnavailable as error:
        return Check("docker", "note", str(error), "start the engine, or install one (Debian: apt install docker.io)")
    try:
        with engine.errors("asking for the engine's version"):
            version = client.version()
        return Check("docker", "ok", f"engine {version['Version']}, {version['Os']}/{version['Arch']}")
    except SandboxError as error:
        return Check("docker", "note", str(error))
    finally:
        client.close()


def _image() -> Check:
    from rlm.kernels import image

    try:
        tag = image.find()
    except SandboxError as error:
        return Check("image", "note", str(error))
    if tag is None:
        return Check("image", "note", "not built yet; the first run builds it", "rlm image build")
    return Check("image", "ok", tag)


def _bwrap() -> Check:
    import asyncio

    from rlm.kernels import environment
    from rlm.kernels.bwrap import BwrapLauncher

    try:
        env = environment.locate()
        launcher = BwrapLauncher(root=env.root)
        asyncio.run(launcher.check())
    except SandboxUnavailable as error:
        return Check("bwrap", "note", str(error), "install bubblewrap (Debian: apt install bubblewrap)")
    strength = launcher.strength()
    detail = f"works, {_limits(strength)}"
    if not env.root.is_dir():
        detail += "; its root is not built yet, the first run builds it"
    return Check("bwrap", "ok", detail)


def _limits(strength: Strength) -> str:
    return "; ".join([f"wall {strength.level}", *strength.remarks])
