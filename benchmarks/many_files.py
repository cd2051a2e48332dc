"""How soon a run has its first cell with many files as input, and what the host process takes for it.

    python -m benchmarks.many_files [--files 10000] [--gigabytes 10] [--sandbox docker] [--folder DIR]

The files hold real bytes of text, written once into DIR (kept if it is named). Time and memory are those of a process
of its own: from the start of the run to the end of its first cell, which opens one file.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from rlm import RLM
from rlm.testing import ScriptedModelServer

LINE = b"The quick brown fox jumps over the lazy dog, and nobody minds it at all. %08d\n"
CELL = """```repl
names = context.paths()
answer["content"] = f"{len(names)} files, {context.size} bytes, {len(context[names[0]])} characters in the first"
answer["ready"] = True
```"""


def write(folder: Path, files: int, size: int) -> None:
    """`files` files of together `size` bytes, in folders of a hundred."""
    each = size // files
    for number in range(files):
        place = folder / f"{number // 100:03}" / f"{number:05}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        line = LINE % number
        place.write_bytes(line * (each // len(line)))


def measure(folder: Path, sandbox: str) -> dict[str, Any]:
    """One run, in this process."""
    warnings.simplefilter("ignore")
    with ScriptedModelServer({"root": [CELL]}) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rlm = RLM(model="root", base_url=server.base_url, sandbox=sandbox, no_trace=True)
        began = time.perf_counter()
        result = rlm.run("How many?", inputs=[folder])
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"answer": result.answer, "seconds": round(seconds, 2), "peak_mb": peak >> 10, "before_mb": before >> 10}


def main() -> None:
    """Write, measure in a fresh process for each, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--sandbox", default="docker")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.folder, options.sandbox)))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="many-files-"))
    try:
        for share in (0.01, 1.0):
            inner = folder / f"{share:g}"
            if not inner.is_dir():
                write(inner, options.files, int(options.gigabytes * share * 1e9))
            subprocess.run(["sync"], check=True)
            command = [sys.executable, "-m", "benchmarks.many_files", "--only", "--sandbox", options.sandbox]
            ran = subprocess.run([*command, "--folder", inner], check=True, capture_output=True, text=True)
            print(f"{options.files:,} files, {options.gigabytes * share:g} GB, {options.sandbox}: {ran.stdout.strip()}")
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
