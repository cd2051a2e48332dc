"""A run as one HTML file: the viewer's page with the events in it. It needs no server and no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from rlm.events import Event
from rlm.trace.blobs import lift
from rlm.trace.reader import Trace
from rlm.view import page_files
from rlm.view.model_prices import prices_of

MAX_TEXT = 250_000
"""Characters of one text that go into the file; the page says where one was cut."""

_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def to_html(trace: Trace, *, redact: Callable[[Event], Event] | None = None) -> str:
    """The page with all of a run's events, texts cut after `MAX_TEXT` characters each.

    `redact` gets each event, whole texts in it, and returns what is shown in its place. Raises `InputError` for a trace
    that cannot be read.
    """
    texts: dict[str, dict[str, Any]] = {}

    def keep(text: str) -> str:
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
        texts[digest] = {"text": text[:MAX_TEXT], "length": len(text)}
        return digest

    events: list[Event] = []
    prices = {}
    for event in trace.events():
        told = redact(event) if redact else event
        if told["type"] == "run.started":
            prices = prices_of(told)
        events.append(lift(told, keep))
    return _page({"run_id": trace.run_id, "events": events, "blobs": texts, "prices": prices})


def _page(data: dict[str, Any]) -> str:
    script = "\n".join(page_files.text(name) for name in page_files.SCRIPTS)
    style = page_files.text(page_files.STYLE)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>'
    # The data comes last, so that nothing in it can be taken for a place of the page.
    page = page_files.text(page_files.INDEX)
    page = page.replace(page_files.STYLE_HERE, head).replace(page_files.SCRIPTS_HERE, f"<script>{script}</script>")
    before, after = page.split(page_files.DATA_HERE)
    return f'{before}<script type="application/json" id="rlm-trace">{_embedded(data)}</script>{after}'


def _embedded(data: dict[str, Any]) -> str:
    """JSON that can stand in a script element: nothing in it ends that, and every character has a UTF-8 form."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str).translate(_MARKUP)
    return text.encode("utf-8", "backslashreplace").decode()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
