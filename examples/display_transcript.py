"""What `rlm ask` shows on a terminal, recorded from a run with children and scripted models: prints docs/display.md.

    python -m examples.display_transcript > docs/display.md        (needs pyte, which is among the dev extras)

A real process writes to a real pseudo-terminal; an emulator of one says what a person would see.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

from rlm.testing import Reply, ScriptedModelServer, ScriptedRequest

ROOT = Path(__file__).resolve().parents[1]
_STILL = 0.03
"""Seconds without output after which a drawing is complete."""
CHAPTERS, PARAGRAPHS = 12, 24
QUESTION = "Which chapters mention the harbour, and what happens there?"

HEAD = """\
# The live display

On a terminal `rlm ask` shows a tree of the run on stderr and redraws it eight times a second: the end of what the root
model is writing, its turn, its batches, the children that did something last with their turns and batches, the totals,
and what the limits leave. What is over scrolls by above it as lines. Elsewhere (a pipe, a log, `TERM=dumb`) there are
lines only. `--display` chooses:

| `--display` | stderr |
|---|---|
| `rich` | the tree; needs a terminal, elsewhere it is `plain` |
| `plain` | lines, each beginning with `rlm: ` |
| `json` | the run's events, one JSON object per line, as the trace has them; lines that begin with `rlm: ` are errors |
| `none` | errors only; `--quiet` is the same, and says nothing on an interrupt either |

`NO_COLOR=1` takes the colours. All text of models, documents and sandboxes is shown with its control characters
escaped: nothing that is read or written in a run can steer the terminal. A thread of its own draws, so that a slow
terminal, or one that is gone, does not hold up the run. Tokens of requests in flight count when they have come back,
and the cost is an estimate without discounts for cached input; the last lines have the exact figures.

What follows was recorded by `python -m examples.display_transcript`: a run of depth 2 with scripted models, on a
terminal of 100 columns.

"""


class Terminal:
    """A process on a pseudo-terminal of its own, and an emulator of what is on its screen."""

    def __init__(self, command: Sequence[str], *, columns: int, rows: int, cwd: Path | None = None, **environ: str):
        self._controller, terminal = pty.openpty()
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        """All that was written."""
        self._set_size(columns, rows)
        environ = {"TERM": "xterm-256color", **environ}
        self.process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**{k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}, **environ},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(terminal)

    def resize(self, columns: int, rows: int) -> None:
        """The process gets SIGWINCH, as from a window."""
        self.screen.resize(rows, columns)
        self._set_size(columns, rows)

    def read_until(self, seen: Callable[[str], object], *, seconds: float = 30) -> bool:
        """Read until `seen` holds for the screen's text; False if the process or the time has ended before.

        It is asked between two drawings, never in the midst of one.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._controller], [], [], min(_STILL, left))[0]:
                if not self._read():
                    return bool(seen(self.text))
            elif seen(self.text):
                return True
        return False

    def type(self, text: str) -> None:
        os.write(self._controller, text.encode())

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._controller)
        self._controller = -1

    def close(self) -> None:
        if self._controller >= 0:
            self.hang_up()
        self.process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        """The lines on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def scrollback(self) -> str:
        """The lines that have left the screen, and those on it."""
        above = ["".join(line[x].data for x in range(self.screen.columns)) for line in self.screen.history.top]
        return "\n".join([*(line.rstrip() for line in above), self.text])

    def _read(self) -> bool:
        try:
            data = os.read(self._controller, 65536)
        except OSError:  # the process has closed its end
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


ROOT_TURNS = [
    'The input is a novel. I look at how it is divided.\n```repl\nchapters = context.split("\\n\\nCHAPTER ")[1:]\n'
    "print(len(chapters), [c[:20] for c in chapters[:3]])\n```",
    "Each chapter goes to a child, which reads it paragraph by paragraph.\n```repl\n"
    'asked = [f"Chapter {n}: is the lamp lit?" for n in range(1, len(chapters) + 1)]\n'
    "found = rlm_batch(asked, contexts=chapters)\n"
    "for number, text in enumerate(found, 1):\n    print(number, text)\n```",
    '```repl\nhits = [n for n, text in enumerate(found, 1) if "lamp" in str(text)]\n'
    'answer["content"] = f"Chapters {hits}: the lamp is lit at the harbour."\nanswer["ready"] = True\n```',
]
CHILD_TURNS = [
    '```repl\nparts = context.split("\\n")\nsaid = llm_batch([f"Is the harbour in this? {p}" for p in parts])\n'
    'print(sum("yes" in s for s in said))\n```',
    '```repl\nanswer["content"] = "the lamp is lit" if any("yes" in s for s in said) else "nothing"\n'
    'answer["ready"] = True\n```',
]


def novel() -> str:
    harbour = {2, 5, 9}
    chapters = []
    for number in range(1, CHAPTERS + 1):
        lines = [f"{number}.{line} The road went on over the hills." for line in range(1, PARAGRAPHS + 1)]
        if number in harbour:
            lines[number] = f"{number}.{number + 1} At the harbour the lamp was lit."
        chapters.append("\n".join([f"CHAPTER {number}", *lines]))
    return "A NOVEL\n\n" + "\n\n".join(chapters)


def leaf(request: ScriptedRequest) -> Reply:
    yes = "harbour the" in request.prompt
    return Reply(text="yes" if yes else "no", delay=_some(request.prompt, 0.1, 0.9))


def child(request: ScriptedRequest) -> Reply:
    return Reply(text=CHILD_TURNS[min(request.turn, 1)], delay=_some(str(request.messages), 0.2, 1.2))


def _some(text: str, least: float, most: float) -> float:
    """Seconds that differ from text to text, and not from time to time."""
    return least + (most - least) * hashlib.sha256(text.encode()).digest()[0] / 255


def replies() -> dict[str, object]:
    root = [Reply(text=text, chunk_delay=0.06) for text in ROOT_TURNS]
    return {"root-model": root, "child-model": child, "leaf-model": leaf}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rlm-display-") as folder, ScriptedModelServer(replies()) as server:
        (Path(folder) / "novel.txt").write_text(novel(), encoding="utf-8")
        options = ["--models", "root-model,child-model,leaf-model", "--base-url", server.base_url, "--depth", "2"]
        options += [
            "--sandbox",
            "process",
            "--max-tokens",
            "1000000",
            "--child-concurrency",
            "8",
            "--trace-dir",
            "runs",
        ]
        command = [sys.executable, "-W", "ignore", str(ROOT / "cli.py"), "ask", QUESTION, "novel.txt", *options]
        terminal = Terminal(command, columns=100, rows=40, cwd=Path(folder))
        try:
            terminal.read_until(lambda text: "┆ print(len" in text)
            writing = terminal.text
            terminal.read_until(lambda text: text.count(", batch ") > 1 and "0/12 children" not in text)
            children = terminal.text
            terminal.read_until(lambda text: "trace: " in text)
            terminal.read_until(lambda _: False, seconds=2)
            shown = terminal.scrollback
        finally:
            terminal.close()
    print(HEAD, end="")
    for title, text in (("The root model writes", writing), ("Children at work", children), ("The end", shown)):
        print(f"## {title}\n\n```\n{text}\n```\n")


if __name__ == "__main__":
    main()
