"""Puts a sandbox's root file system together from what the host has; see `rlm.kernels.environment` for its layout."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import SandboxUnavailable
from rlm.kernels import elf, wheels

Progress = Callable[[str], None]

TOOLS = (
    *("sh", "bash", "awk", "base64", "basename", "cat", "cmp", "cp", "cut", "date", "diff", "dirname", "du", "echo"),
    *("env", "expr", "false", "file", "find", "fold", "grep", "gzip", "head", "id", "join", "jq", "ln", "ls", "md5sum"),
    *("mkdir", "mktemp", "mv", "nl", "od", "paste", "printf", "pwd", "rev", "rg", "rm", "rmdir", "sed", "seq"),
    *("sha256sum", "shuf", "sleep", "sort", "split", "stat", "tac", "tail", "tar", "tee", "test", "timeout", "touch"),
    *("tr", "true", "uname", "uniq", "wc", "which", "xargs", "xxd", "yes"),
)
"""What models call from a cell; those that the host lacks are left out."""

MOUNT_POINTS = ("dev", "proc", "sys", "tmp", "run", "input", "packages", "rlm/guest", "rlm/cgroup")

_UNWANTED = shutil.ignore_patterns(
    *("site-packages", "dist-packages", "__pycache__", "config-*", "test", "idlelib", "lib2to3", "turtledemo"),
    *("ensurepip", "tkinter", "_tkinter*", "sitecustomize.py", "usercustomize.py", "EXTERNALLY-MANAGED", "*.a"),
)
_NOT_INSTALLED = (
    *("bin", "share", "etc", "pandas/tests", "pyarrow/tests", "pyarrow/include"),
    # What speaks with servers, a third of pyarrow: there is no network.
    *("pyarrow/*_flight*", "pyarrow/*_s3*", "pyarrow/*_gcsfs*", "pyarrow/*_azurefs*"),
)
"""Of the wheels, what no cell can use."""
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsandbox:x:65534:65534:sandbox:/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nsandbox:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


@dataclass(frozen=True, slots=True)
class BaseInterpreter:
    """The interpreter under the running one: never a virtual environment's."""

    executable: Path
    stdlib: Path
    relative: str
    """Where the standard library lies below the prefix: `lib/python3.X`, `lib64/python3.X`."""
    version: str
    """`3.X`."""


def base_interpreter() -> BaseInterpreter:
    """The base interpreter of this process. Raises `SandboxUnavailable` for one that cannot be copied."""
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    if not executable.is_file() or not (stdlib / "os.py").is_file():
        raise SandboxUnavailable(f"the standard library of {executable} is not a plain folder: it cannot be copied")
    relative = f"{sys.platlibdir}/{stdlib.name}" if stdlib.parent.name == sys.platlibdir else f"lib/{stdlib.name}"
    return BaseInterpreter(
        executable=executable, stdlib=stdlib, relative=relative, version=sysconfig.get_python_version()
    )


def inside(root: Path, base: BaseInterpreter) -> Path:
    """The standard library within `root`."""
    return root / "usr/local" / base.relative


def assemble(root: Path, *, requirements: Path, progress: Progress) -> None:
    """Build the tree at `root`, which must not exist. Raises `SandboxUnavailable`."""
    base = base_interpreter()
    root.mkdir(parents=True)
    progress(f"copying Python {sys.version.split()[0]} from {base.stdlib}")
    _copy_python(root, base)
    progress("installing the sandbox's packages")
    site = inside(root, base) / "site-packages"
    wheels.install_locked(site, requirements, python=base.executable, progress=progress)
    _remove_unused(site)
    progress("adding the shared libraries and a shell")
    tools = _copy_tools(root)
    _copy_libraries(root, base, tools)
    _write_skeleton(root)
    progress("compiling to bytecode")
    compile_tree(inside(root, base), seen_at=f"/usr/local/{base.relative}")
    normalise_modes(root)
    (root / "tmp").chmod(0o1777)


def _remove_unused(site: Path) -> None:
    for pattern in _NOT_INSTALLED:
        for found in site.glob(pattern):
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()


def _copy_python(root: Path, base: BaseInterpreter) -> None:
    stdlib = inside(root, base)
    shutil.copytree(base.stdlib, stdlib, ignore=_UNWANTED, ignore_dangling_symlinks=True)
    (stdlib / "site-packages").mkdir()
    # Debian's interpreter looks for `dist-packages` instead.
    (stdlib / "dist-packages").symlink_to("site-packages")
    bin_ = root / "usr/local/bin"
    bin_.mkdir(parents=True)
    name = stdlib.name
    shutil.copy(base.executable, bin_ / name)
    for alias in ("python3", "python"):
        (bin_ / alias).symlink_to(name)


def _copy_tools(root: Path) -> list[Path]:
    """The tools to `bin/`; returns the host's files. One program under many names is copied once."""
    (root / "bin").mkdir()
    (root / "usr/bin").symlink_to("../bin")
    copied = []
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin")
        if found is None or not elf.is_elf(Path(found)):
            continue
        program = Path(found).resolve()
        if not (root / "bin" / program.name).exists():
            shutil.copy(program, root / "bin" / program.name)
            copied.append(program)
        if tool != program.name:
            (root / "bin" / tool).unlink(missing_ok=True)
            (root / "bin" / tool).symlink_to(program.name)
    return copied


def _copy_libraries(root: Path, base: BaseInterpreter, tools: list[Path]) -> None:
    """What the interpreter, its extension modules, the wheels and the tools load, each by its name beside libc."""
    modules = sorted(inside(root, base).rglob("*.so*"))
    found = elf.closure([base.executable, *(p for p in modules if p.is_file() and elf.is_elf(p)), *tools])
    target = root / found.directory.relative_to("/")
    target.mkdir(parents=True, exist_ok=True)
    for name, path in found.libraries.items():
        if not path.is_relative_to(root) and "/" not in name:
            shutil.copy(path, target / name)
    loader = root / found.loader.relative_to("/")
    loader.parent.mkdir(parents=True, exist_ok=True)
    if not loader.exists():
        shutil.copy(found.loader, loader)


def _write_skeleton(root: Path) -> None:
    for folder in MOUNT_POINTS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def compile_tree(tree: Path, *, seen_at: str) -> None:
    """Compile a tree for this interpreter's version; tracebacks will show it at `seen_at`.

    The bytecode is trusted without a look at its source: the tree never changes, and mounts lose timestamps.
    """
    command = [str(base_interpreter().executable), "-I", "-S", "-m", "compileall", "-q", "-j0"]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", seen_at, str(tree)]
    # The status says nothing: some packages ship templates that are not valid Python.
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def normalise_modes(root: Path) -> None:
    """Make a tree readable by every uid (a sandbox's owns nothing in it), writable by its owner, without setuid."""
    for folder, _, files in os.walk(root):
        os.chmod(folder, 0o755)
        for name in files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                os.chmod(path, 0o755 if mode & 0o100 else 0o644)
