"""The fork server of a sandbox: it builds `context` once, and every kernel is a fork of it.

Single-threaded by design, and without a ZeroMQ context or an event loop: a fork copies neither
threads nor the locks that they hold. The agent talks to it over one SEQPACKET socket; argv is that
descriptor, and the agent's pid:

    boot  {"config"}                          -> ready | failed {"detail"}
    fork  {"kernel", "endpoint", "key", …} + [bridge, ready] fds   -> forked {"kernel", "pid"}
                                              -> exited {"kernel", "status"} when it ends
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
from typing import Any

from guest import procs


class Zygote:
    def __init__(self, agent: socket.socket) -> None:
        self.agent = agent
        self.kernels: dict[int, int] = {}
        self.config: dict[str, Any] = {}
        self.loaded: Any = None
        self.broken = ""
        """Why no kernel can be had, if the imports failed."""
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        self.preload()
        while True:
            readable, _, _ = select.select([self.agent.fileno(), self.wake_read], [], [])
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
        gc.collect()
        gc.freeze()
        self.tell("ready")

    def fork(self, request: dict[str, Any], fds: list[int]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self.tell("exited", kernel=request["kernel"], status=0, detail=str(error))
            return
        if pid == 0:
            procs.die_with_parent(zygote)
            self.become_kernel(request, fds)
        for fd in fds:
            os.close(fd)
        self.kernels[pid] = request["kernel"]
        self.tell("forked", kernel=request["kernel"], pid=pid)

    def become_kernel(self, request: dict[str, Any], fds: list[int]) -> None:
        """In the child: leave everything of the zygote behind, and never return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.agent.close()
            os.close(self.wake_read)
            os.close(self.wake_write)
            os.setsid()
            procs.set_dumpable(True)
            procs.raise_oom_score(500)
            from guest import kernel

            status = kernel.main({**self.config, **request}, self.loaded, bridge_fd=fds[0], ready_fd=fds[1])
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


if __name__ == "__main__":
    procs.die_with_parent(int(sys.argv[2]))
    procs.set_dumpable(False)
    Zygote(socket.socket(fileno=int(sys.argv[1]))).run()
