"""The sandbox image: `rlm-sandbox:<content hash>`, built when it is missing and found again in milliseconds.

Two ways lead to the same layout (see `rlm.kernels.environment`):

- from the host (Linux): the sandbox environment is imported as `rlm-sandbox-base:<hash>`, and the
  guest's code is a thin layer on it, so that a changed guest costs a second. Needs no registry.
- from `sandbox/Dockerfile`: `python:3.12-slim` and the same locked wheels. Needs a registry.

`ensure` takes whichever image of the current content exists (the one that was built last); if there
is none it builds from the host on Linux, since that needs the least, and from the Dockerfile
elsewhere, on another architecture than the engine's, or without pip. Every function here blocks:
from async code, call it in a thread.
"""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import IO, TYPE_CHECKING

from rlm.assets import asset_dir
from rlm.errors import SandboxError, SandboxUnavailable
from rlm.kernels import environment, guestcode, pins
from rlm.kernels.caches import cache_dir
from rlm.kernels.engine import connect, errors
from rlm.kernels.filelock import locked

if TYPE_CHECKING:
    import docker

REPOSITORY = "rlm-sandbox"
BASE_REPOSITORY = "rlm-sandbox-base"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

STEP_SECONDS = 600
"""An import, or one step of a build, may be silent for minutes."""

Progress = Callable[[str], None]


def ensure(*, progress: Progress | None = None) -> str:
    """The tag of the sandbox image, built if it is missing.

    `progress` gets one line per step, only when there is something to build. Raises
    `SandboxUnavailable` if no engine answers or no way to build works, `SandboxError` if a build fails.
    """
    tell = progress or _silent
    with _engine() as client:
        for tag in _current_tags():
            if _exists(client, tag):
                return tag
        if _host_can(client):
            try:
                return _build(client, from_host=True, rebuild=False, progress=tell)
            except SandboxUnavailable as error:
                tell(f"{error}; trying the Dockerfile")
        return _build(client, from_host=False, rebuild=False, progress=tell)


def find() -> str | None:
    """The tag of the current image, None if it is not built. Raises `SandboxUnavailable` if no engine answers."""
    with _engine() as client:
        return next((tag for tag in _current_tags() if _exists(client, tag)), None)


def build(*, from_host: bool, rebuild: bool = False, progress: Progress | None = None) -> str:
    """Build the image in the way that is named, and make it the one that `ensure` finds; returns its tag.

    Reuses what is there unless `rebuild`. Raises `SandboxUnavailable` and `SandboxError`.
    """
    with _engine() as client:
        if from_host and not _host_can(client):
            raise SandboxUnavailable("--from-host needs Linux, and a Docker engine of the host's own architecture")
        tag = _build(client, from_host=from_host, rebuild=rebuild, progress=progress or _silent)
        for other in _current_tags():
            if other != tag and _exists(client, other):
                client.images.remove(other, force=True)
        return tag


def prune() -> list[str]:
    """Remove the sandbox images of other contents than the current one; an image in use stays. Says which went."""
    from docker.errors import APIError

    keep = {*_current_tags(), *_current_base()}
    removed = []
    with _engine() as client:
        for repository in (REPOSITORY, BASE_REPOSITORY):
            for image in client.images.list(name=repository):
                for tag in set(image.tags) - keep:
                    with suppress(APIError):
                        client.images.remove(tag)
                        removed.append(tag)
    return sorted(removed)


def python_of(tag: str) -> tuple[str, str]:
    """The Python version (`3.12`) and the machine (`x86_64`) of a sandbox image, for `packages.Target`."""
    with _engine() as client:
        attributes = client.images.get(tag).attrs
    labels = attributes["Config"].get("Labels") or {}
    return labels["rlm.python"], MACHINES.get(attributes["Architecture"], attributes["Architecture"])


@contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    with closing(connect()) as client, errors("the sandbox image"):
        client.api.timeout = STEP_SECONDS
        yield client


def _current_tags() -> Iterator[str]:
    """The tags that the current content has, the Dockerfile's first: that one is only ever built on purpose."""
    yield _dockerfile_tag()
    with suppress(SandboxUnavailable):
        yield _host_tag(environment.locate())


def _current_base() -> Iterator[str]:
    with suppress(SandboxUnavailable):
        yield f"{BASE_REPOSITORY}:{environment.locate().key}"


def _dockerfile_tag() -> str:
    digest = hashlib.sha256((asset_dir("sandbox") / "Dockerfile").read_bytes())
    digest.update(pins.lock_file().read_bytes() + guestcode.digest().encode())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


def _host_tag(env: environment.SandboxEnv) -> str:
    digest = hashlib.sha256(f"{env.key} {guestcode.digest()} {_guest_layer(env)}".encode())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


def _guest_layer(env: environment.SandboxEnv) -> str:
    return f"FROM {BASE_REPOSITORY}:{env.key}\nCOPY guest {environment.GUEST_CODE}\n"


def _host_can(client: docker.DockerClient) -> bool:
    machine = client.version()["Arch"]
    return platform.system() == "Linux" and MACHINES.get(machine, machine) == platform.machine()


def _exists(client: docker.DockerClient, tag: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _build(client: docker.DockerClient, *, from_host: bool, rebuild: bool, progress: Progress) -> str:
    with locked(cache_dir() / "image.lock", progress=progress):
        if from_host:
            return _build_from_host(client, rebuild=rebuild, progress=progress)
        return _build_dockerfile(client, rebuild=rebuild, progress=progress)


def _build_dockerfile(client: docker.DockerClient, *, rebuild: bool, progress: Progress) -> str:
    tag = _dockerfile_tag()
    if rebuild or not _exists(client, tag):
        sandbox = asset_dir("sandbox")
        with tempfile.TemporaryFile() as context, tarfile.open(fileobj=context, mode="w") as tar:
            tar.add(sandbox / "Dockerfile", "Dockerfile", filter=_plain)
            tar.add(pins.lock_file(), "requirements.txt", filter=_plain)
            for name in guestcode.source_files():
                tar.add(sandbox / "guest" / name, f"guest/{name}", filter=_plain)
            tar.close()
            context.seek(0)
            try:
                _run_build(client, context, tag, rebuild=rebuild, progress=progress)
            except SandboxError as error:
                raise SandboxUnavailable(
                    f"{error}. Without a registry, `rlm image build --from-host` builds from this machine's Python"
                ) from error
    return tag


def _build_from_host(client: docker.DockerClient, *, rebuild: bool, progress: Progress) -> str:
    env = environment.locate()
    base, tag = f"{BASE_REPOSITORY}:{env.key}", _host_tag(env)
    if rebuild or not _exists(client, base):
        env = environment.ensure(progress=progress, rebuild=rebuild)
        progress(f"importing {base}")
        _import(client, env, base)
    if rebuild or not _exists(client, tag):
        with tempfile.TemporaryFile() as context, tarfile.open(fileobj=context, mode="w") as tar:
            layer = _guest_layer(env).encode()
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(layer)
            tar.addfile(info, io.BytesIO(layer))
            tar.add(guestcode.prepare(), "guest", filter=_plain)
            tar.close()
            context.seek(0)
            _run_build(client, context, tag, rebuild=rebuild, progress=progress)
    return tag


def _import(client: docker.DockerClient, env: environment.SandboxEnv, base: str) -> None:
    repository, _, tag = base.partition(":")
    variables = " ".join(f"{name}={value}" for name, value in environment.GUEST_ENVIRONMENT.items())
    changes = [
        f"ENV {variables}",
        f"LABEL rlm.python={env.version}",
        "WORKDIR /tmp",
        "USER 65534:65534",
        f'CMD ["{environment.GUEST_PYTHON}", "-I", "{environment.GUEST_CODE}/agent.py"]',
    ]
    with tempfile.TemporaryFile(dir=cache_dir("env")) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(env.root, ".", filter=_plain)
        file.seek(0)
        client.api.import_image(file, repository=repository, tag=tag, changes=changes)


def _run_build(client: docker.DockerClient, context: IO[bytes], tag: str, *, rebuild: bool, progress: Progress) -> None:
    progress(f"building {tag}")
    events = client.api.build(
        fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, nocache=rebuild, decode=True
    )
    failure = ""
    for event in events:  # to its end: only then does the engine's connection go back
        failure = failure or str(event.get("error", ""))
        if (line := str(event.get("stream", "")).strip()).startswith("Step "):
            progress(line[:120])
    if failure:
        raise SandboxError(f"building the sandbox image failed: {' '.join(failure.split())[:300]}")


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owned by root, the same bytes from everybody's machine, and without setuid bits."""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = 0
    info.mode &= 0o1777
    return info


def _silent(line: str) -> None:
    """Where progress goes that nobody asked for."""
