"""The process that parses untrusted files. Run by path, it imports nothing of `rlm`.

It reads requests from its stdin, a socket of packets: JSON, with the descriptors of the file and of a pipe. For each it
forks a process that limits itself, parses, and writes to the pipe one line of JSON, `{"bytes": N}` or `{"error": …}`,
and then N bytes of UTF-8. The process that forks never opens a file of the user's.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

NOBODY = 65534
READY = b'{"ready": true}'
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

Job = Callable[[int, dict[str, Any]], str]


def main(options: dict[str, Any], jobs: dict[str, Job]) -> None:
    """Serve until stdin ends. `options`: `path` (of modules), `walled`, `preload`."""
    sys.path[:] = options["path"]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # a fork that a document has taken over cannot get into the others
    if not options["walled"] and libc.unshare(_CLONE_NEWNET):
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # where that is refused too, it has the user's network
    with socket.socket(fileno=os.dup(0)) as requests:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # no fork has a way to the requests
        # What has been imported here costs the forks nothing; a library that is missing is told by them.
        with contextlib.suppress(ImportError):
            if options["preload"]:
                load_markitdown()
        requests.send(READY)
        _serve(requests, jobs, libc, walled=options["walled"])


def _serve(requests: socket.socket, jobs: dict[str, Job], libc: ctypes.CDLL, *, walled: bool) -> None:
    children: dict[int, int] = {}
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 16, 2)
        for number, child in list(children.items()):
            if os.waitpid(child, os.WNOHANG)[0]:
                del children[number]
        if not message:
            break
        request = json.loads(message)
        if "kill" in request:
            if request["kill"] in children:
                _kill(children[request["kill"]])
            continue
        pid = os.fork()
        if not pid:
            requests.close()
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _work(request, jobs, *fds, walled=walled)
        children[request["id"]] = pid
        for fd in fds:
            os.close(fd)
    for child in children.values():
        _kill(child)


def _kill(child: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


def _work(request: dict[str, Any], jobs: dict[str, Job], source: int, out: int, *, walled: bool) -> None:
    """One file; never returns."""
    try:
        os.setpgid(0, 0)
        request["lock_down"] = lambda: _lock_down(request["seconds"], request["memory"], walled=walled)
        try:
            if request["job"] != "parquet":
                request["lock_down"]()
            data = jobs[request["job"]](source, request).encode("utf-8", "replace")
            answer = json.dumps({"bytes": len(data)}).encode() + b"\n" + data
        except MemoryError:
            answer = json.dumps({"error": "it takes more memory than it may have"}).encode() + b"\n"
        except BaseException as error:
            # Whatever a library raises over a file that a stranger made.
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            answer = json.dumps({"error": said}).encode() + b"\n"
        with os.fdopen(out, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _lock_down(seconds: float, memory: int, *, walled: bool) -> None:
    """From here on: no more than so much memory and time, no file written, no process made, nobody's rights."""
    with open("/proc/self/statm", "rb") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: mapped + memory,
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for limit, value in limits.items():
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if walled and os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


# --- what it can do -----------------------------------------------------------------------------


def load_markitdown() -> Any:
    """The package, without the model that guesses file types: the suffix has told the type."""
    guesser = types.ModuleType("magika")
    guesser.Magika = object  # type: ignore[attr-defined]
    sys.modules.setdefault("magika", guesser)
    import markitdown.converters

    return markitdown


_CONVERTERS = {
    ".pdf": "PdfConverter",
    ".docx": "DocxConverter",
    ".pptx": "PptxConverter",
    ".xlsx": "XlsxConverter",
    ".html": "HtmlConverter",
    ".epub": "EpubConverter",
    ".msg": "OutlookMsgConverter",
    ".ipynb": "IpynbConverter",
}


def convert(source: int, request: dict[str, Any]) -> str:
    """A document as Markdown."""
    package = load_markitdown()
    converter = getattr(package.converters, _CONVERTERS[request["suffix"]])()
    info = package.StreamInfo(extension=request["suffix"], charset=request.get("charset"))
    with os.fdopen(source, "rb") as file:
        return str(converter.convert(file, info).markdown)


def parquet(source: int, request: dict[str, Any]) -> str:
    """JSON: the columns and the number of rows from the footer, and the first rows."""
    import pyarrow
    from pyarrow import parquet as files

    pyarrow.set_cpu_count(1)
    request["lock_down"]()
    with os.fdopen(source, "rb") as raw:
        file = files.ParquetFile(pyarrow.PythonFile(raw), pre_buffer=False)
        schema = file.schema_arrow
        columns = [[field.name, str(field.type)] for field in schema][: request["columns"]]
        told = {"rows": file.metadata.num_rows, "width": len(schema), "columns": columns, "head": []}
        try:
            names = [name for name, _ in columns]
            for batch in file.iter_batches(batch_size=request["rows"], columns=names, use_threads=False):
                told["head"] = [_short(row.values()) for row in batch.to_pylist()[: request["rows"]]]
                break
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            told["error"] = str(error)[:200]  # the footer is worth telling all the same
    return json.dumps(told)


def sqlite(source: int, request: dict[str, Any]) -> str:
    """JSON: the tables with their columns and numbers of rows. What is being written to it is not waited for."""
    import sqlite3
    import time

    with os.fdopen(source, "rb") as file:
        data = bytearray(file.read())
    # From memory, since SQLite goes by paths, and there is none here. A log beside the file is not there either.
    data[18:20] = b"\1\1"
    database = sqlite3.connect(":memory:")
    database.deserialize(data)
    database.execute("PRAGMA trusted_schema = OFF")
    deadline = time.monotonic() + request["seconds"] / 2
    database.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    tables = []
    for name in names[: request["tables"]]:
        quoted = '"' + name.replace('"', '""') + '"'
        columns = [row[1:3] for row in database.execute(f"PRAGMA table_info({quoted})")][: request["columns"]]
        rows: int | None = None
        head: list[list[str]] = []
        try:
            head = [_short(row) for row in database.execute(f"SELECT * FROM {quoted} LIMIT {int(request['rows'])}")]
            rows = database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0]
        except sqlite3.Error:
            deadline = max(deadline, time.monotonic() + 0.2)  # too long to count, or damaged: the others may do
        tables.append({"name": name, "columns": columns, "rows": rows, "head": head})
    return json.dumps({"tables": tables, "count": len(names)})


def _short(row: Any) -> list[str]:
    return [text if len(text := repr(value)) <= 60 else text[:60] + "…" for value in list(row)[:20]]


JOBS: dict[str, Job] = {"convert": convert, "parquet": parquet, "sqlite": sqlite}

if __name__ == "__main__":
    main(json.loads(sys.argv[1]), JOBS)
