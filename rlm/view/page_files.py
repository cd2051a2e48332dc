"""The files of the page: their texts, and the order of the scripts."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent / "page"
INDEX = "index.html"
STYLE = "style.css"
SCRIPTS = (
    "dom.js",
    "format.js",
    "text.js",
    "python.js",
    "diff.js",
    "model.js",
    "source.js",
    "search.js",
    "tree.js",
    "timeline.js",
    "parts.js",
    "answers.js",
    "overview.js",
    "turn.js",
    "batch.js",
    "runs.js",
    "compare.js",
    "header.js",
    "app.js",
)
"""Each uses the ones before it only, when it is loaded; the last one starts the page."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}

SCRIPTS_HERE = "<!-- scripts -->"
STYLE_HERE = "<!-- style -->"
DATA_HERE = "<!-- data -->"
"""Where in the page what it is made of goes."""


def text(name: str) -> str:
    """One file of the page."""
    return (PAGE / name).read_text(encoding="utf-8")


def linked() -> str:
    """The page for the server: its scripts and its style are files beside it."""
    scripts = "\n".join(f'<script src="page/{name}" defer></script>' for name in SCRIPTS)
    style = f'<link rel="stylesheet" href="page/{STYLE}">'
    return text(INDEX).replace(STYLE_HERE, style).replace(SCRIPTS_HERE, scripts).replace(DATA_HERE, "")
