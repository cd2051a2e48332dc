"""PID 1 of a sandbox: the relay between the host and the kernels, and the reaper.

It speaks frames (see `guest.wire`) on stdin and stdout with the host, Jupyter's shell channel with
each kernel over a Unix socket, and hands bridge bytes through unread. It never forks: the zygote
does. It ends when stdin does, so that a killed host leaves nothing behind.

Two queues lead to the host: control frames and shell replies go before bridge bytes, and each
kernel may have only so many bridge bytes under way as the host has granted (`credit`); so a
flood on one kernel's bridge delays neither its replies nor the other kernels.
"""

from __future__ import annotations

import os
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
sys.path += [p for p in os.environ.get("RLM_SITE", "").split(":") if p]

import json
import secrets
import signal
import socket
import subprocess
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guest import procs, wire

CHUNK = 1 << 16
OUT_BOUND = 1 << 20
"""Bytes that may wait for the host before the agent stops reading from kernels."""
LAST_WORDS = 1 << 20
"""With fewer bytes than these on their way, those of a dead kernel overtake the others."""
SWEEPS = 20
"""Passes over /proc that a dead kernel's processes get before everything is killed at once."""


@dataclass
class KernelLink:
    """The agent's end of one kernel."""

    number: int
    bridge: socket.socket
    ready: int
    endpoint: str
    pid: int = 0
    dealer: Any = None
    credit: int = 0
    to_guest: bytearray = field(default_factory=bytearray)

    def close(self) -> None:
        self.bridge.close()
        if self.ready >= 0:
            os.close(self.ready)
        if self.dealer is not None:
            self.dealer.close(linger=0)


class Agent:
    def __init__(self) -> None:
        self.urgent: deque[bytes] = deque()
        self.bulk: deque[bytes] = deque()
        self.bulk_size = 0
        self.writing = memoryview(b"")
        self.decoder = wire.AgentDecoder()
        self.kernels: dict[int, KernelLink] = {}
        self.config: dict[str, Any] = {}
        self.zygote: subprocess.Popen[bytes] | None = None
        self.zygote_socket: socket.socket | None = None
        self.alone = os.getpid() == 1
        """Only as PID 1 of its own namespace may it kill whatever it sees."""

    # --- life -------------------------------------------------------------------------------

    def run(self) -> None:
        procs.set_dumpable(False)
        if not self.alone:
            procs.become_subreaper()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self.start_zygote()
        # Imported only now: the zygote's start and this import then run at the same time.
        import zmq

        self.zmq: Any = zmq
        self.context = self.zmq.Context(io_threads=1)
        self.send_control("hello", version=wire.VERSION, oom_kills=procs.oom_kills())
        while self.step(wake_read):
            pass

    def step(self, wake: int) -> bool:
        """Wait for one round of events and serve them; False at the end of stdin."""
        zmq = self.zmq
        poller = zmq.Poller()
        poller.register(0, zmq.POLLIN)
        poller.register(wake, zmq.POLLIN)
        if self.zygote_socket is not None:
            poller.register(self.zygote_socket.fileno(), zmq.POLLIN)
        if self.writing or self.urgent or self.bulk:
            poller.register(1, zmq.POLLOUT)
        for kernel in self.kernels.values():
            self.watch(poller, kernel)
        events = dict(poller.poll())
        if wake in events:
            os.read(wake, 4096)
            self.reap()
        if 1 in events:
            self.flush()
        if self.zygote_socket is not None and self.zygote_socket.fileno() in events:
            self.read_zygote()
        for kernel in list(self.kernels.values()):
            self.serve(kernel, events)
        return self.read_host() if 0 in events else True

    # --- the host ---------------------------------------------------------------------------

    def read_host(self) -> bool:
        try:
            data = os.read(0, CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        for channel, number, payload in self.decoder.feed(data):
            kernel = self.kernels.get(number)
            if channel == wire.CONTROL:
                self.control(json.loads(payload))
            elif kernel is None:
                continue
            elif channel == wire.SHELL and kernel.dealer is not None:
                kernel.dealer.send_multipart(wire.unpack_parts(payload))
            elif channel == wire.BRIDGE:
                kernel.to_guest += payload
                self.write_guest(kernel)
        return True

    def control(self, message: dict[str, Any]) -> None:
        match message["op"]:
            case "boot":
                self.config = message["config"]
                self.tell_zygote({"op": "boot", "config": self.config})
            case "fork":
                self.fork(message)
            case "signal":
                self.signal(message["kernel"], message["signal"])
            case "kill":
                self.signal(message["kernel"], signal.SIGKILL)
            case "close_bridge" if (kernel := self.kernels.get(message["kernel"])) is not None:
                kernel.credit = 0
                kernel.bridge.shutdown(socket.SHUT_RDWR)
            case "credit" if (kernel := self.kernels.get(message["kernel"])) is not None:
                kernel.credit += message["bytes"]

    def send_control(self, op: str, **fields: Any) -> None:
        self.urgent.append(wire.control_frame(op, **fields))

    def flush(self) -> None:
        """Write to the host until it would block: a frame once begun, then urgent, then bulk."""
        while True:
            if not self.writing:
                if self.urgent:
                    self.writing = memoryview(self.urgent.popleft())
                elif self.bulk:
                    frame = self.bulk.popleft()
                    self.bulk_size -= len(frame)
                    self.writing = memoryview(frame)
                else:
                    return
            try:
                self.writing = self.writing[os.write(1, self.writing) :]
            except BlockingIOError:
                return

    # --- kernels ----------------------------------------------------------------------------

    def fork(self, message: dict[str, Any]) -> None:
        """Have the zygote fork a kernel; its bridge and a pipe that says `bound` go with the request."""
        if self.zygote_socket is None:
            self.start_zygote()
            self.tell_zygote({"op": "boot", "config": self.config})
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        # In the abstract namespace: it takes no file that a cell could replace or a full /tmp refuse.
        endpoint = f"@rlm-{secrets.token_hex(8)}"
        number = message["kernel"]
        self.kernels[number] = KernelLink(number, ours, ready_read, endpoint, credit=message["credit"])
        self.tell_zygote({**message, "endpoint": endpoint}, fds=[theirs.fileno(), ready_write])
        theirs.close()
        os.close(ready_write)

    def watch(self, poller: Any, kernel: KernelLink) -> None:
        zmq = self.zmq
        bridge_events = zmq.POLLOUT if kernel.to_guest else 0
        if kernel.credit > 0 and self.bulk_size < OUT_BOUND:
            bridge_events |= zmq.POLLIN
        if bridge_events and kernel.bridge.fileno() >= 0:
            poller.register(kernel.bridge.fileno(), bridge_events)
        if kernel.ready >= 0:
            poller.register(kernel.ready, zmq.POLLIN)
        if kernel.dealer is not None and sum(map(len, self.urgent)) < OUT_BOUND:
            poller.register(kernel.dealer, zmq.POLLIN)

    def serve(self, kernel: KernelLink, events: dict[Any, int]) -> None:
        zmq = self.zmq
        if kernel.ready in events:
            self.connect(kernel)
        if kernel.dealer is not None and kernel.dealer in events:
            parts = kernel.dealer.recv_multipart(zmq.NOBLOCK)
            payload = wire.pack_parts(parts)
            if len(payload) <= wire.MAX_FRAME:
                self.urgent.append(wire.agent_frame(wire.SHELL, kernel.number, payload))
            else:
                self.send_control("violation", kernel=kernel.number, detail=f"a reply of {len(payload):,} bytes")
        flags = events.get(kernel.bridge.fileno(), 0)
        if flags & zmq.POLLOUT:
            self.write_guest(kernel)
        if flags & (zmq.POLLIN | zmq.POLLERR):
            self.read_guest(kernel)

    def connect(self, kernel: KernelLink) -> None:
        """The kernel has bound its sockets (`1`), says why it cannot (any other text), or died (end of file)."""
        if self.last_word(kernel) != b"1":
            return
        zmq = self.zmq
        kernel.dealer = self.context.socket(zmq.DEALER)
        kernel.dealer.setsockopt(zmq.MAXMSGSIZE, wire.MAX_FRAME)
        kernel.dealer.setsockopt(zmq.RCVHWM, 16)
        kernel.dealer.connect(f"ipc://{kernel.endpoint}-1")
        self.send_control("started", kernel=kernel.number)

    def last_word(self, kernel: KernelLink) -> bytes:
        """What it says of its start; the host is told if that is why it cannot."""
        try:
            word = os.read(kernel.ready, 4096)
        except BlockingIOError:
            word = b""
        os.close(kernel.ready)
        kernel.ready = -1
        if word not in (b"", b"1"):
            self.send_control("failed", kernel=kernel.number, detail=word.decode("utf-8", "replace"))
        return word

    def read_guest(self, kernel: KernelLink) -> bool:
        """Take what a kernel says on its bridge; whether there may be more."""
        try:
            data = kernel.bridge.recv(min(CHUNK, kernel.credit))
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            kernel.credit = 0
            self.send_control("bridge_closed", kernel=kernel.number)
            return False
        kernel.credit -= len(data)
        frame = wire.agent_frame(wire.BRIDGE, kernel.number, data)
        self.bulk.append(frame)
        self.bulk_size += len(frame)
        return kernel.credit > 0

    def hurry(self, kernel: KernelLink) -> None:
        """What a dead kernel still said, such as its last `answer`, goes before word of its end, if it is little."""
        while self.bulk_size < LAST_WORDS and kernel.credit > 0 and self.read_guest(kernel):
            continue
        if self.bulk_size >= LAST_WORDS:
            return
        for frame in [self.bulk.popleft() for _ in range(len(self.bulk))]:
            of_it = wire.HEADER.unpack_from(frame)[2] == kernel.number
            self.bulk_size -= len(frame) if of_it else 0
            (self.urgent if of_it else self.bulk).append(frame)

    def write_guest(self, kernel: KernelLink) -> None:
        try:
            while kernel.to_guest:
                sent = kernel.bridge.send(memoryview(kernel.to_guest)[: 1 << 18])
                del kernel.to_guest[:sent]
        except BlockingIOError:
            return
        except OSError:
            kernel.to_guest.clear()

    def signal(self, number: int, signum: int) -> None:
        kernel = self.kernels.get(number)
        if kernel is None or not kernel.pid:
            return
        try:
            os.kill(kernel.pid, signum)
        except ProcessLookupError:
            return

    # --- the zygote -------------------------------------------------------------------------

    def start_zygote(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(Path(__file__).with_name("zygote.py"))
        self.zygote = subprocess.Popen(
            # Not -I: the environment is the launcher's, and its PYTHONHASHSEED makes replays repeat.
            [sys.executable, "-P", "-s", "-B", program, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self.zygote_socket = ours

    def tell_zygote(self, message: dict[str, Any], *, fds: list[int] | None = None) -> None:
        if self.zygote_socket is None:
            return
        try:
            procs.send_request(self.zygote_socket, message, fds or [])
        except OSError as error:
            self.send_control("failed", detail=f"the zygote cannot be reached: {error}")

    def read_zygote(self) -> None:
        assert self.zygote_socket is not None
        try:
            data = self.zygote_socket.recv(CHUNK)
        except OSError:
            data = b""
        if not data:
            self.lose_zygote()
            return
        message = json.loads(data)
        kernel = self.kernels.get(message.get("kernel", -1))
        match message["op"]:
            case "forked" if kernel is not None:
                kernel.pid = message["pid"]
            case "exited" if kernel is not None:
                self.bury(kernel, message["status"])
            case "ready" | "failed":
                self.send_control(**message)

    def lose_zygote(self) -> None:
        """Somebody killed it: no kernel survives it, and the next fork starts a new one."""
        assert self.zygote is not None
        assert self.zygote_socket is not None
        self.zygote_socket.close()
        self.zygote_socket = None
        self.zygote.kill()
        self.zygote.wait()
        for kernel in list(self.kernels.values()):
            self.signal(kernel.number, signal.SIGKILL)
            self.bury(kernel, signal.SIGKILL)

    def bury(self, kernel: KernelLink, status: int) -> None:
        """Report a kernel's end (`status` as of waitpid), once nothing of it runs any more."""
        del self.kernels[kernel.number]
        if kernel.ready >= 0:
            # Its end may be heard of before its reason is; somebody else may hold the pipe open.
            os.set_blocking(kernel.ready, False)
            self.last_word(kernel)
        self.hurry(kernel)
        kernel.close()
        self.sweep(kernel.pid)
        facts = {"oom_kills": procs.oom_kills(), "files": procs.files_in_memory()}
        self.send_control("exited", kernel=kernel.number, status=status, **facts)

    def sweep(self, session: int) -> None:
        """Kill what a dead kernel left running: its session, or all there is when it was the last."""
        zygote = self.zygote.pid if self.zygote is not None else 0
        for _ in range(SWEEPS):
            if self.alone and not self.kernels:
                left = procs.everyone_but({zygote})
            else:
                left = procs.children_of_session(session) if session else []
            if not left:
                return
            procs.kill_all(left)
            self.reap()
        if self.alone and not self.kernels:
            os.kill(-1, signal.SIGKILL)

    def reap(self) -> None:
        """Bury orphans. The zygote's own end is seen by its socket; should a cell have stopped it, it goes on."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    Agent().run()
    # Nothing may outlive the stream to the host; as PID 1 the kernel sees to the rest.
    os._exit(0)
