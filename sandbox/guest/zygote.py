"""The fork server of a sandbox: it builds `context` once, and every kernel is a fork of it.

Single-threaded by design, and without a ZeroMQ context or an event loop: a fork copies neither
threads nor the locks that they hold. The agent talks to it over one SEQPACKET socket; argv is that
descriptor, and the agent's pid:

    boot  {"config"}                          -> ready | failed {"detail"}
    fork  {"kernel", "endpoint", "key", …} + [bridge, ready] fds   -> forked {"kernel", "pid"}
                                              -> exited {"kernel", "status"} when it ends

Where a fork cannot be had (it may need more memory than may be promised), or with `"fresh_kernels": true`
in the configuration, a kernel is a fresh process that builds `context` itself: `zygote.py --fresh`.

With `"children": true` it indexes the input while it has nothing else to do, for forks made later.
"""

from __future__ import annotations

import os
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
sys.path += [p for p in os.environ.get("RLM_SITE", "").split(":") if p]

import gc
import json
import select
import signal
import socket
import traceback
from collections.abc import Iterator
from typing import Any

from guest import procs

ROOT_OOM_SCORE, CHILD_OOM_SCORE = 100, 1000
"""Out of 1000; the agent and the zygote have 0."""


_DONE = object()


class Zygote:
    def __init__(self, agent: socket.socket) -> None:
        self.agent = agent
        self.kernels: dict[int, int] = {}
        self.config: dict[str, Any] = {}
        self.loaded: Any = None
        self.indexing: Iterator[None] = iter(())
        """What is still to be learned of the input, while nothing else is to be done."""
        self.broken = ""
        """Why no kernel can be had, if the imports failed."""
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        self.preload()
        while True:
            timeout = 0 if next(self.indexing, _DONE) is not _DONE else None
            readable, _, _ = select.select([self.agent.fileno(), self.wake_read], [], [], timeout)
            if self.wake_read in readable:
                os.read(self.wake_read, 4096)
                self.reap()
            if self.agent.fileno() in readable:
                request, fds = procs.recv_request(self.agent)
                if request is None:
                    return
                self.serve(request, fds)

    def serve(self, request: dict[str, Any], fds: list[int]) -> None:
        if request["op"] == "boot":
            self.boot(request["config"])
        elif request["op"] == "fork":
            self.fork(request, fds)

    def preload(self) -> None:
        """Import what every fork is to have, while the agent starts and the host sends the configuration."""
        # The kernel's debugger, which nobody uses, would warn about frozen modules.
        os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
        try:
            from guest import inputs, kernel  # noqa: F401
        except Exception:
            self.broken = traceback.format_exc()[-4000:]

    def boot(self, config: dict[str, Any]) -> None:
        self.config = config
        if self.broken:
            self.tell("failed", detail=self.broken)
            return
        try:
            from guest import inputs

            self.loaded = inputs.load(config.get("input"))
        except BaseException:
            self.tell("failed", detail=traceback.format_exc()[-4000:])
            return
        if config.get("children"):
            self.indexing = self.loaded.index()
        gc.collect()
        gc.freeze()
        self.tell("ready")

    def fork(self, request: dict[str, Any], fds: list[int]) -> None:
        try:
            pid = self.start_kernel(request, fds)
        except OSError as error:
            self.tell("failed", kernel=request["kernel"], detail=f"no process could be started: {error}")
            self.tell("exited", kernel=request["kernel"], status=0)
            return
        finally:
            for fd in fds:
                os.close(fd)
        self.kernels[pid] = request["kernel"]
        self.tell("forked", kernel=request["kernel"], pid=pid)

    def start_kernel(self, request: dict[str, Any], fds: list[int]) -> int:
        """The pid of a new kernel; in a fork, never returns."""
        zygote = os.getpid()
        if self.config.get("fresh_kernels"):
            return self.spawn_kernel(request, fds)
        try:
            pid = os.fork()
        except OSError:
            return self.spawn_kernel(request, fds)
        if pid == 0:
            self.become_kernel(request, fds, zygote)
        return pid

    def spawn_kernel(self, request: dict[str, Any], fds: list[int]) -> int:
        """A kernel that shares nothing with this process: not even a copy of its page tables is made."""
        with os.fdopen(os.memfd_create("request"), "w+b") as memory:
            memory.write(json.dumps({**self.config, **request}).encode())
            memory.flush()
            for fd in (memory.fileno(), *fds):
                os.set_inheritable(fd, True)
            numbers = [str(number) for number in (memory.fileno(), *fds, os.getpid())]
            program = [sys.executable, "-P", "-s", "-B", os.path.abspath(__file__), "--fresh", *numbers]
            return os.posix_spawn(sys.executable, program, os.environ, setsid=True)

    def become_kernel(self, request: dict[str, Any], fds: list[int], zygote: int) -> None:
        """In the child: leave everything of the zygote behind, and never return."""
        status = 1
        try:
            procs.die_with_parent(zygote)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.agent.close()
            os.close(self.wake_read)
            os.close(self.wake_write)
            os.setsid()
            procs.set_dumpable(True)
            status = run_kernel({**self.config, **request}, self.loaded, fds)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)

    def reap(self) -> None:
        while self.kernels:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (number := self.kernels.pop(pid, None)) is not None:
                self.tell("exited", kernel=number, status=status)

    def tell(self, op: str, **fields: Any) -> None:
        self.agent.send(json.dumps({"op": op, **fields}).encode())


def run_kernel(config: dict[str, Any], loaded: Any, fds: list[int]) -> int:
    """Serve as a kernel until killed. Should memory run out, a child kernel goes first, then the root's."""
    procs.raise_oom_score(ROOT_OOM_SCORE if config["root"] else CHILD_OOM_SCORE)
    from guest import kernel

    return kernel.main(config, loaded, bridge_fd=fds[0], ready_fd=fds[1])


def fresh_kernel(request_fd: int, bridge_fd: int, ready_fd: int, zygote: int) -> int:
    """The process of a kernel that is no fork: it imports and builds everything itself."""
    procs.die_with_parent(zygote)
    for fd in (request_fd, bridge_fd, ready_fd):
        os.set_inheritable(fd, False)
    with os.fdopen(request_fd, "rb") as memory:
        memory.seek(0)
        config = json.loads(memory.read())
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    from guest import inputs

    return run_kernel(config, inputs.load(config.get("input")), [bridge_fd, ready_fd])


if __name__ == "__main__" and sys.argv[1] == "--fresh":
    os._exit(fresh_kernel(*map(int, sys.argv[2:])))
elif __name__ == "__main__":
    procs.die_with_parent(int(sys.argv[2]))
    procs.set_dumpable(False)
    Zygote(socket.socket(fileno=int(sys.argv[1]))).run()
