"""Installing wheels with the host's own pip (or uv), and nothing but wheels: an sdist would run its code here."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rlm.errors import SandboxUnavailable
from rlm.kernels.pins import normalised

NO_INSTALLER = "preparing the sandbox needs pip or uv: `python -m ensurepip`, or install uv, and try again"
_TOLD = ("Collecting ", "Downloading ", "Installing ")


def pip_command() -> list[str] | None:
    """How to run this interpreter's pip; None where it has none.

    Isolated from the working directory, which may hold a hostile `pip.py`; the user's own pip
    configuration (mirror, certificates) holds.
    """
    if importlib.util.find_spec("pip") is None:
        return None
    return [sys.executable, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check"]


def install_command(target: Path, *, python: Path) -> list[str]:
    """The command that installs wheels into `target`, less its requirements: pip's, else uv's."""
    if (pip := pip_command()) is not None:
        return [*pip, "install", "--target", str(target), "--only-binary=:all:", "--no-compile", "--progress-bar=off"]
    if (uv := shutil.which("uv")) is not None:
        return [
            uv,
            "pip",
            "install",
            "--target",
            str(target),
            "--only-binary=:all:",
            "--link-mode=copy",
            "--python",
            str(python),
        ]
    raise SandboxUnavailable(NO_INSTALLER)


def install_locked(target: Path, requirements: Path, *, python: Path, progress: Callable[[str], None]) -> None:
    """Install a complete, hash-locked requirements file into `target`. Blocking; raises `SandboxUnavailable`."""
    command = [*install_command(target, python=python), "--no-deps", "--require-hashes", "-r", str(requirements)]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=target.parent,
        env=environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith(_TOLD):
                progress(line.split(" (")[0].strip()[:120])
    if process.returncode != 0:
        raise SandboxUnavailable(f"the sandbox's packages cannot be installed: {reason(''.join(lines))}")


def environ() -> dict[str, str]:
    """The host's environment without what would change where pip installs to."""
    redirecting = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON"}
    return {name: value for name, value in os.environ.items() if name not in redirecting}


def reason(output: str) -> str:
    """What pip's or uv's output says went wrong, on one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    conflict = [line for line in lines if re.search(r"^The user requested|depends on |because ", line, re.IGNORECASE)]
    errors = [line for line in lines if re.match(r"(ERROR|error)\b", line)]
    told = conflict or errors[-1:] or lines[-1:] or ["no output"]
    return re.sub(r"^(ERROR|error): ?", "", "; ".join(told))[:400]


def distributions(site: Path) -> dict[str, str]:
    """What an installed tree holds: normalised name -> version, from the names of its `.dist-info` folders."""
    found = {}
    for folder in sorted(site.glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[normalised(name)] = version
    return found
