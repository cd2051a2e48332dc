"""A run's REPL outside of its sandbox: what `rlm export --ipynb` makes its notebooks run with.

    from rlm.notebook import repl

    session = repl(globals(), "20261124-105142-568-1f22a4f4")

puts the names that a root model's code expects (`context`, `llm_batch`, `rlm_batch`, `answer` …) among the caller's
globals. What the run has asked is answered from its record and costs nothing; other prompts go to the endpoint. Only
children cannot be asked anew: there is no sandbox for them.

**The code of a model then runs in this very process, without a wall.** Read it first.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rlm import parts
from rlm.assets import asset_dir
from rlm.bridge.server import BridgeEvents, GuestBridge
from rlm.budget import Ledger, Limits
from rlm.calls.batch import Call
from rlm.calls.caller import Caller, Place
from rlm.calls.outcome import CallFailed, Reply
from rlm.calls.request import ChildRequest
from rlm.calls.scheduler import Scheduler
from rlm.config import Settings
from rlm.errors import InputError
from rlm.events import ROOT
from rlm.layers import load_settings
from rlm.record import Record
from rlm.trace.reader import find
from rlm.trace.store import runs_dir

CHUNK = 1 << 18
START_SECONDS = 30.0


class Repl:
    """The names, and the thread that answers what they ask. `close()` ends it; so does the end of the process."""

    def __init__(self, record: Record, settings: Settings) -> None:
        self._record = record
        self._settings = settings
        self._toolbox = record.toolbox()
        ours, theirs = socket.socketpair()
        self._work = tempfile.mkdtemp(prefix="rlm-notebook-")
        self._host = _Host(theirs, record, settings)
        try:
            self.names = self._names(ours)
        except BaseException:
            ours.close()
            self.close()
            raise

    def close(self) -> None:
        """End the thread; what is under way is cancelled. Idempotent."""
        self._host.close()
        shutil.rmtree(self._work, ignore_errors=True)

    def begin_cell(self, *_: Any) -> None:
        """Equal prompts are told apart by how often they came within a cell; in IPython this is called by itself."""
        self._host.begin_cell()

    def _names(self, ours: socket.socket) -> dict[str, Any]:
        """As the guest's own session puts them together."""
        loaded = _guest("inputs").load(self._record.prepared().local_config())
        bridge = _guest("bridge").Bridge(ours.detach())
        bridge.start()
        results, functions = _guest("results"), _guest("functions")
        names: dict[str, Any] = {
            "context": loaded.context,
            "answer": {"content": "", "ready": False},
            "history": [],
            "budget": lambda: bridge.request("budget"),
            "FunctionFailed": functions.FunctionFailed,
            "exit": _guest("namespace").make_exit("exit"),
            "quit": _guest("namespace").make_exit("quit"),
        }
        if self._settings.depth:
            calls = _guest("calls").SubCalls(bridge)
            contexts = _guest("contexts")
            own = contexts.Contexts(self._work, loaded.context, contexts.Passed({"as": "input"}, "input"))
            children = _guest("children").Children(
                bridge, own, deeper=self._settings.depth > 1, on_limited=lambda: None
            )
            names |= {name: getattr(results, name) for name in ("CallError", "CallResult", "SubCallError")}
            names |= {"llm_query": calls.llm_query, "llm_batch": calls.llm_batch, "llm_query_batched": calls.llm_batch}
            names |= {"rlm_query": children.rlm_query, "rlm_batch": children.rlm_batch}
            names |= {"rlm_query_batched": children.rlm_batch}
        if loaded.has_text:
            names["re"] = _guest("textre").module
        names |= {
            each["name"]: functions.make_stub(each, bridge.request)
            for each in self._toolbox.repl_functions(self._settings.depth == 0)
        }
        functions.load_shipped(self._toolbox.shipped, names)
        return names


class _Host:
    """The other end of the bridge, on an event loop of its own."""

    def __init__(self, end: socket.socket, record: Record, settings: Settings) -> None:
        self._end = end
        self._record = record
        self._settings = settings
        self._caller: Caller | None = None
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="rlm-notebook", daemon=True)
        self._thread.start()
        self._ready.wait(START_SECONDS)
        if self._failure is not None:
            raise self._failure

    def begin_cell(self) -> None:
        if self._loop.is_closed():
            return
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._begin_cell, done)
        done.wait(START_SECONDS)

    def _begin_cell(self, done: threading.Event) -> None:
        if self._caller is not None:
            self._caller.begin_cell()
        done.set()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(START_SECONDS)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        try:
            self._task = self._loop.create_task(self._serve())
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        settings, past = self._settings, self._record.past
        toolbox = self._record.toolbox()
        models = parts.models(settings)
        scheduler = Scheduler(
            models.by_name,
            Ledger(Limits(), parts.prices(settings)),
            flush=_nothing,
            window=settings.concurrency,
            child_places=settings.child_places,
            tools=toolbox if toolbox.definitions else None,
            sub_max_turns=settings.sub_max_turns,
            past=past,
        )
        place = Place(depth=0, rollout=ROOT, calls=settings.depth > 0, spawn=_no_child if settings.depth > 1 else None)
        defaults = parts.call_defaults(settings, models, 0, tools=bool(toolbox.definitions))
        self._caller = Caller(scheduler, place, defaults, emit=_nothing)
        reader, writer = await asyncio.open_connection(sock=self._end)
        events = BridgeEvents(
            send=writer.write, credit=_nothing, close=writer.close, busy=_nothing, answer=_nothing, output=_nothing
        )
        handlers = {"budget": self._budget, "function": self._function}
        bridge = GuestBridge(events=events, subcalls=self._caller, handlers=handlers, emit=_nothing)
        self._ready.set()
        try:
            while data := await reader.read(CHUNK):
                bridge.feed(data)
        finally:
            await bridge.aclose()
            await scheduler.aclose()
            for model in models.all():
                await model.aclose()
            writer.close()

    async def _budget(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(("turns", "sub_calls", "tokens", "cost", "seconds"))

    async def _function(self, message: Mapping[str, Any]) -> dict[str, Any]:
        done = self._record.past.function(ROOT, message.get("name"), message.get("args"), message.get("kwargs"))
        if done is None:
            return {"failed": "this call is not in the record; define the function in the notebook"}
        return {"failed": done["failed"]} if done["failed"] else {"result": done["result"]}


def repl(names: dict[str, Any], run: str | Path, *, sha256: Mapping[str, str] | None = None, **options: Any) -> Repl:
    """Put the REPL of a run among `names`, a caller's `globals()`.

    `run` is the run's folder, its id, or the beginning of it. `sha256` are hashes of inputs by name: what does not have
    its hash any more is refused. `options` are settings (`base_url`, `sub_model` …) in the place of those of the run;
    keys come from the environment as always. A run that is not in the user's own folder of runs may be a stranger's: it
    does not say where prompts and keys go. Raises `InputError`, and `ConfigError` for options.
    """
    trace_dir = load_settings({}).trace_dir
    record = Record(find(str(run), trace_dir), offline=True)
    # Children are not executed here: their outcomes are those of the record.
    record.past.offline = False
    _check_hashes(record, sha256 or {})
    session = Repl(record, record.settings(options, runs=runs_dir(trace_dir)))
    names.update(session.names)
    namespace = _guest("namespace").Namespace({})
    namespace.adopt(names)
    names["SHOW_VARS"] = namespace.show_vars
    _call_before_cells(session.begin_cell)
    return session


def _check_hashes(record: Record, sha256: Mapping[str, str]) -> None:
    for item in record.prepared().items if sha256 else ():
        if item.sha256() != sha256.get(item.name, item.sha256()):
            raise InputError(f"{item.source} has changed since the run")


def _call_before_cells(hook: Callable[..., None]) -> None:
    """In IPython; elsewhere there are no cells."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.events.register("pre_run_cell", hook)


def _guest(module: str) -> Any:
    """A module of the sandbox's own code, which has no other dependencies than the standard library."""
    folder = str(asset_dir("sandbox"))
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(f"guest.{module}")


def _no_child(call: Call, request: ChildRequest) -> Coroutine[Any, Any, Reply]:
    async def refuse() -> Reply:
        raise CallFailed("invalid", "this child is not in the record, and a notebook has no sandbox for another one")

    return refuse()


def _nothing(*_: Any, **__: Any) -> None:
    """Nobody wants to know."""
