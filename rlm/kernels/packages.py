"""Packages for a run: resolved on the host against the sandbox's own versions, installed offline, mounted read-only.

Wheels only. What the sandbox already holds keeps its version, whatever a package would like, and is
not installed a second time. A finished tree is cached by what was asked for, so a request without
versions keeps what it once resolved to, until `rlm image prune`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rlm.errors import SandboxError, SandboxUnavailable
from rlm.kernels import pins, requirement, rootfs, wheels
from rlm.kernels.caches import cache_dir, remove_unused
from rlm.kernels.environment import PACKAGES
from rlm.kernels.requirement import Requirement

TIMEOUT_SECONDS = 600
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35, 36)
"""The manylinux levels that the Dockerfile's base image (Debian 12 or later) can load."""


@dataclass(frozen=True, slots=True)
class Target:
    """The interpreter that the packages are for."""

    python: str = field(default_factory=sysconfig.get_python_version)
    """`3.12`"""
    machine: str = field(default_factory=platform.machine)
    """`x86_64`, `aarch64`"""
    provided: Mapping[str, str] = field(default_factory=pins.locked_versions)
    """What the sandbox holds: normalised name -> version."""

    @property
    def native(self) -> bool:
        """Whether it is the host's own interpreter, by version and machine."""
        return (sys.platform, self.python, self.machine) == (
            "linux",
            sysconfig.get_python_version(),
            platform.machine(),
        )

    def pip_options(self) -> list[str]:
        if self.native:
            return []
        tags = [f"manylinux_2_{level}_{self.machine}" for level in _GLIBC] + [f"manylinux2014_{self.machine}"]
        return ["--implementation=cp", f"--python-version={self.python}", *(f"--platform={tag}" for tag in tags)]

    def uv_options(self) -> list[str]:
        return [f"--python-version={self.python}", f"--python-platform={self.machine}-manylinux_2_28"]


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed request."""

    path: Path
    """The tree to mount at `/packages` and to put on `sys.path`; empty if the sandbox holds everything already."""
    distributions: tuple[tuple[str, str], ...]
    """What the request brought in, dependencies included: normalised name, version."""
    requested: tuple[tuple[str, str], ...]
    """What was asked for by name, wherever it comes from: normalised name, version."""


async def install(
    names: Sequence[str], *, target: Target | None = None, into: Path | None = None, timeout: float = TIMEOUT_SECONDS
) -> Installed:
    """Make `names` (requirements: `polars`, `regex>=2024`, `tabulate[widechars]`) importable in a sandbox.

    Without `into`, `path` is a shared, cached tree. With it, the request is added to that folder, which
    a running sandbox may have mounted: what is there stays, and each package appears whole, by a
    rename. `timeout` in seconds, for each step. Cancelling ends pip. Raises `ConfigError` for a
    malformed requirement, `SandboxError` when it cannot be resolved or installed, and
    `SandboxUnavailable` without pip and uv.
    """
    target = target or Target()
    wanted = [requirement.parse(name) for name in names]
    present = wheels.distributions(into) if into is not None else {}
    provided = {**target.provided, **present}
    tree = await _tree(wanted, target=target, provided=provided, timeout=timeout)
    new = wheels.distributions(tree)
    if into is not None:
        await asyncio.to_thread(_publish, tree, into)
    versions = {**provided, **new}
    return Installed(
        path=into or tree,
        distributions=tuple(new.items()),
        requested=tuple((r.name, versions[r.name]) for r in wanted if r.name in versions),
    )


def prune() -> list[Path]:
    """Remove the cached trees that no run has asked for within a day; says which."""
    return remove_unused(cache_dir("packages"))


async def _tree(wanted: Sequence[Requirement], *, target: Target, provided: Mapping[str, str], timeout: float) -> Path:
    """The cached tree of a request, made if it is missing."""
    missing = [r.text for r in wanted if not (r.bare and r.name in provided)]
    facts = (sorted(missing), target.python, target.machine, sorted(provided.items()))
    final = cache_dir("packages") / hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=final.parent, prefix="."))
        try:
            site = staging / "site"
            site.mkdir()
            if missing:
                await _fill(site, missing, target=target, provided=provided, timeout=timeout)
            rootfs.normalise_modes(site)
            # Another process may have been first; its tree is as good.
            with suppress(OSError):
                site.rename(final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    os.utime(final)
    return final


async def _fill(
    site: Path, missing: Sequence[str], *, target: Target, provided: Mapping[str, str], timeout: float
) -> None:
    constraints = site.parent / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in provided.items()), encoding="utf-8")
    if (pip := wheels.pip_command()) is not None:
        folder = site.parent / "wheels"
        options = ["--only-binary=:all:", "--progress-bar=off", *target.pip_options()]
        await _run(
            [*pip, "download", f"--dest={folder}", f"--constraint={constraints}", *options, *missing],
            timeout,
            site.parent,
        )
        found = {pins.normalised(path.name.split("-")[0]): str(path) for path in folder.glob("*.whl")}
        options = ["--no-index", "--no-deps", "--no-compile", *options]
        command = [*pip, "install", f"--target={site}", *options]
    elif (uv := shutil.which("uv")) is not None:
        lock = site.parent / "lock.txt"
        options = ["--only-binary=:all:", *target.uv_options()]
        (site.parent / "requirements.in").write_text("\n".join(missing), encoding="utf-8")
        compile_ = [uv, "pip", "compile", "requirements.in", "--quiet", f"--constraints={constraints}"]
        await _run([*compile_, f"--output-file={lock}", *options], timeout, site.parent)
        found = {name: f"{name}=={version}" for name, version in pins.read(lock).items()}
        command = [uv, "pip", "install", f"--target={site}", "--no-deps", "--link-mode=copy", *options]
    else:
        raise SandboxUnavailable(wheels.NO_INSTALLER)
    if new := [found[name] for name in sorted(found) if name not in provided]:
        await _run([*command, *new], timeout, site.parent)
    shutil.rmtree(site / "bin", ignore_errors=True)
    if target.native:
        await asyncio.to_thread(rootfs.compile_tree, site, seen_at=PACKAGES)


async def _run(command: Sequence[str], timeout: float, folder: Path) -> None:
    """Run pip or uv in a folder of our own (uv reads configuration from it); neither outlives a cancelled caller."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=wheels.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise SandboxError(f"the packages could not be fetched within {timeout:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SandboxError(f"the packages cannot be installed: {wheels.reason(output.decode(errors='replace'))}")


def _publish(tree: Path, into: Path) -> None:
    """Bring a tree's entries into a folder that may be in use: staged beside it, then renamed in, metadata last."""
    into.mkdir(mode=0o755, parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name}."))
    try:
        shutil.copytree(tree, staging, dirs_exist_ok=True, copy_function=_link_or_copy)
        _merge(staging, into)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir(), key=lambda path: (path.suffix == ".dist-info", path.name)):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            # A namespace that several packages share.
            _merge(entry, place)
        else:
            entry.rename(place)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
