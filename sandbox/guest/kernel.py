"""A kernel: ipykernel in a fork of the zygote, with our output capture, namespace and report.

The host reads everything it wants to know about a cell from the `rlm` field of the execute reply;
nothing that this process publishes elsewhere is listened to.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import random
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from traitlets.config import Config

from guest import contexts, textre
from guest.contexts import Passed
from guest.inputs import Loaded
from guest.install import Installer, pip_line
from guest.reprs import CappedDisplay, CappedHook
from guest.session import Guest
from guest.text import Text
from guest.tracebacks import describe_exception


class Shell(ZMQInteractiveShell):  # type: ignore[misc]
    """IPython without the channels that nobody reads: reprs and tracebacks go into the output."""

    displayhook_class = CappedHook
    display_pub_class = CappedDisplay
    failure: dict[str, str] | None = None
    left = False
    """The cell called `sys.exit()` or the like."""

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: object) -> None:
        self._last_traceback: list[str] = []
        self.left = isinstance(evalue, SystemExit)
        self.failure = None if self.left else describe_exception(evalue)

    def showtraceback(self, *args: Any, **kwargs: Any) -> None:
        etype, evalue, _ = sys.exc_info()
        if etype is not None and evalue is not None:
            self._showtraceback(etype, evalue, None)

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:
        self.showtraceback()

    def showindentationerror(self) -> None:
        self.showtraceback()

    def ask_exit(self) -> None:
        """Nothing that a cell says ends the kernel."""

    def prepare(self, guest: Guest) -> None:
        """Before the first cell: our names, cells called `<cell N>` in tracebacks, and `%pip`."""
        guest.namespace.adopt(self.user_ns)
        self.user_ns_hidden.update(self.user_ns)
        self.compile.get_code_name = lambda *_: f"<cell {len(guest.history) + 1}>"
        self.installer = Installer(guest.bridge, guest.packages)
        self.register_magic_function(self.installer.pip, "line", "pip")

    def system(self, cmd: str) -> None:
        """`!cmd`: its output goes where all output goes. `!pip install …` is `%pip install …`."""
        cmd = self.var_expand(cmd, depth=1)
        if (line := pip_line(cmd)) is not None:
            self.installer.pip(line)
            return
        self.user_ns["_exit_code"] = subprocess.run(cmd, shell=True, check=False).returncode


class Kernel(IPythonKernel):  # type: ignore[misc]
    """Adds the report of the cell to each execute reply, and sees to it that there is always a reply.

    An interrupt raises `KeyboardInterrupt` where the cell's own code is running, and cancels a cell
    that waits in the event loop; anywhere else it comes too late, and is dropped. So it never falls
    into our own code, into a background task (which would end the loop) or into the next cell.
    """

    shell_class = Shell
    guest: Guest
    cell_task: asyncio.Task[Any] | None = None
    """The task in which the current cell's code runs."""
    awaited: asyncio.Future[Any] | None = None
    """The same, if the cell can wait in the event loop."""

    async def do_execute(self, code: str, silent: bool, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self.cell_task = asyncio.current_task()
        try:
            return await self._report_on(code, silent, *args, **kwargs)
        finally:
            self.cell_task = None

    async def _report_on(self, code: str, silent: bool, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self.shell.failure, self.shell.left = None, False
        self.guest.begin()
        reply: dict[str, Any] = {}
        try:
            reply = await super().do_execute(code, silent, *args, **kwargs)
        except BaseException as error:
            # Such as an exception of the cell's own whose text IPython could not make.
            self.shell.failure = self.shell.failure or describe_exception(error)
        for page in reply.get("payload", ()):
            # What `name?` would show in a pager.
            self.guest.capture.add(str(page.get("data", {}).get("text/plain", "")) + "\n")
        failure = self.shell.failure
        if reply.get("status") == "error" and failure is None and not self.shell.left:
            failure = {"name": str(reply.get("ename"))[:200], "value": str(reply.get("evalue"))[:2000], "traceback": ""}
        status: dict[str, Any] = {"status": "ok"}
        if failure is not None:
            status = {"status": "error", "ename": failure["name"], "evalue": failure["value"], "traceback": []}
        return {
            **status,
            "execution_count": reply.get("execution_count", 0),
            "user_expressions": {},
            "payload": [],
            "rlm": self.guest.report(code, failure, left=self.shell.left, said=self._said()),
        }

    def _said(self) -> str:
        """What the model wrote around this cell's code, which the request carries."""
        content = self.get_parent("shell").get("content") or {}
        return str(content.get("said") or "")

    def pre_handler_hook(self) -> None:
        self.saved_sigint_handler = signal.signal(signal.SIGINT, self.on_sigint)

    @contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        """Around a cell with a top-level `await`: `future` is the task that its code runs in."""
        outer, self.cell_task, self.awaited = self.cell_task, asyncio.ensure_future(future), future
        try:
            yield
        finally:
            self.cell_task, self.awaited = outer, None

    def on_sigint(self, signum: int, frame: FrameType | None) -> None:
        loop = asyncio.get_running_loop()
        if self.cell_task is not None and asyncio.current_task(loop) is self.cell_task and _in_cell(frame):
            signal.default_int_handler(signum, frame)
        if self.awaited is not None:
            # Thread-safe although this is the loop's thread: it may be asleep, and only this wakes it.
            loop.call_soon_threadsafe(self.awaited.cancel)


def _in_cell(frame: FrameType | None) -> bool:
    """Whether code of a cell is running in `frame`, or has called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<cell"):
            return True
        frame = frame.f_back
    return False


class App(IPKernelApp):  # type: ignore[misc]
    """The kernel application without files: no connection file, no history, no redirected streams."""

    kernel_class = Kernel

    def init_connection_file(self) -> None: ...
    def write_connection_file(self, **kwargs: Any) -> None: ...

    def init_io(self) -> None:
        self.displayhook = SimpleNamespace()  # the base class hangs a counter on it

    def init_crash_handler(self) -> None: ...
    def init_pdb(self) -> None: ...
    def init_gui_pylab(self) -> None: ...


def take_text_in_re(cells: dict[str, Any]) -> None:
    """`re` as cells see it, imported or not, accepts a `Text` too."""
    cells["re"] = textre.module
    builtins.__import__ = textre.import_for_cells(builtins.__import__, is_cell=lambda names: names is cells)


def main(config: dict[str, Any], loaded: Loaded, *, bridge_fd: int, ready_fd: int) -> int:
    """Serve until killed. `ready_fd` gets `1` when the sockets are bound, else why they are not.

    `config` is what the host said at boot, and of this kernel:

        endpoint, key     where it listens, and the key of its messages
        answer            {"content", "version"} that it goes on from
        root              false in a child
        typed             whether the answer is to be data
        llm, deeper       whether it has sub-calls at all, and whether its rlm_query makes children: for the
                          names and the looks of things only, since the host decides
        context           in a child: the descriptor of its `context` (see `guest.contexts`), and
        context_key       what it is known by
    """
    work = config.get("work") or "/tmp"
    os.environ.setdefault("HOME", work)
    os.chdir(work)
    random.seed()
    log = os.dup(2)
    own = Passed(config.get("context", {"as": "input"}), config.get("context_key", "input"))
    try:
        context = contexts.load(own.descriptor, loaded.context, str_max=loaded.str_max)
    except Exception as error:
        os.write(ready_fd, f"the context could not be loaded: {type(error).__name__}: {error}"[:2000].encode())
        return 1
    guest = Guest(config, loaded, context, own, work=work, bridge_fd=bridge_fd)
    guest.start()
    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    settings.InteractiveShell.cache_size = 0
    settings.IPKernelApp.log_level = 30
    app = App(config=settings, transport="ipc", ip=config["endpoint"])
    app.shell_port, app.iopub_port, app.stdin_port, app.control_port, app.hb_port = 1, 2, 3, 4, 5
    app.session.key = config["key"].encode()
    app.user_ns = guest.namespace.values
    try:
        app.initialize([])
        app.kernel.guest = guest
        app.kernel.shell.prepare(guest)
        if config.get("auto_parallel", True):
            guest.ahead.install(app.kernel.shell.ast_transformers)
        warnings.filterwarnings("ignore", message="To exit:")
        if loaded.has_text or isinstance(context, Text):
            take_text_in_re(app.kernel.shell.user_ns)
    except BaseException:
        os.write(log, traceback.format_exc().encode())
        return 1
    os.close(log)
    guest.capture.take()
    os.write(ready_fd, b"1")
    os.close(ready_fd)
    app.start()
    return 0
