"""The syscall filter: one profile in Docker's format, and its compilation to BPF for bubblewrap.

Docker takes the profile as it is. bubblewrap wants a compiled program on a descriptor, which
libseccomp makes (the C library, reached by ctypes: it has no wheel).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlm.assets import asset_dir
from rlm.errors import SandboxUnavailable

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_BAD_ARCH = 2
"""`SCMP_FLTATR_ACT_BADARCH`: what happens to a call through another ABI, such as 32-bit `int 0x80`."""
_UNKNOWN_SYSCALL = -1
_COMPARE = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_ARCHITECTURES = {"SCMP_ARCH_X86_64": "x86_64", "SCMP_ARCH_AARCH64": "aarch64"}


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


@functools.cache
def profile() -> dict[str, Any]:
    """The shipped profile, parsed."""
    text = (asset_dir("sandbox") / "seccomp.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@functools.cache
def profile_json() -> str:
    """The profile on one line, for Docker's `security_opt`."""
    return json.dumps(profile(), separators=(",", ":"))


def supported_here() -> bool:
    """Whether the profile knows this machine's architecture."""
    return platform.machine() in {_ARCHITECTURES[entry["architecture"]] for entry in profile()["archMap"]}


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise SandboxUnavailable(
            "bubblewrap's syscall filter needs libseccomp.so.2 (Debian, Ubuntu: apt install libseccomp2)"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.restype = None
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library


@contextmanager
def _filter(library: ctypes.CDLL, default: int) -> Iterator[Any]:
    handle = library.seccomp_init(default)
    if not handle:
        raise SandboxUnavailable("libseccomp could not start a filter")
    try:
        yield handle
    finally:
        library.seccomp_release(handle)


def _action(rule: dict[str, Any], errno_field: str, action_field: str) -> int:
    name = rule[action_field]
    if name == "SCMP_ACT_ALLOW":
        return _ALLOW
    if name == "SCMP_ACT_ERRNO":
        return _ERRNO | int(rule.get(errno_field, errno.EPERM))
    raise ValueError(f"the profile uses an action that is not supported here: {name}")


def _check(code: int, what: str) -> None:
    if code < 0:
        raise SandboxUnavailable(f"libseccomp refused {what}: {os.strerror(-code)}")


@functools.cache
def compile_bpf() -> bytes:
    """The profile as a BPF program for this machine.

    Names that this libseccomp does not know are left out, so those calls fail with EPERM.
    Raises `SandboxUnavailable` without libseccomp, or on an architecture that the profile does not name.
    """
    if not supported_here():
        raise SandboxUnavailable(f"the syscall filter knows x86_64 and aarch64, not {platform.machine()}")
    library = _library()
    loaded = profile()
    with _filter(library, _action(loaded, "defaultErrnoRet", "defaultAction")) as handle:
        _check(library.seccomp_attr_set(handle, _BAD_ARCH, _KILL_PROCESS), "the action for other ABIs")
        for rule in loaded["syscalls"]:
            _add_rule(library, handle, rule)
        program = os.memfd_create("seccomp")
        try:
            _check(library.seccomp_export_bpf(handle, program), "to export the filter")
            return os.pread(program, os.fstat(program).st_size, 0)
        finally:
            os.close(program)


def _add_rule(library: ctypes.CDLL, handle: Any, rule: dict[str, Any]) -> None:
    args = rule.get("args", [])
    comparisons = (_Comparison * max(1, len(args)))(
        *[_Comparison(a["index"], _COMPARE[a["op"]], a["value"], a.get("valueTwo", 0)) for a in args]
    )
    action = _action(rule, "errnoRet", "action")
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != _UNKNOWN_SYSCALL:
            _check(library.seccomp_rule_add_array(handle, action, number, len(args), comparisons), name)
