"""A result as a piece of HTML, for notebooks. Whatever is in it, nothing of it is markup."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from rlm.escapes import visible

MAX_ANSWER = 200_000
"""Characters of an answer that are shown."""
_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 .5em"


def to_html(result: Mapping[str, Any]) -> str:
    """`result` is the object of `RunResult.to_dict()`: the answer, how it ended, what it took, and its figures."""
    answer = str(result["answer"])
    cut = f"\n… {len(answer) - MAX_ANSWER:,} more characters" if len(answer) > MAX_ANSWER else ""
    error = result.get("error")
    parts = [f'<pre style="{_PRE}">{text(answer[:MAX_ANSWER] + cut)}</pre>' if answer else "<p>No answer.</p>"]
    if error:
        parts.append(f"<p><b>{text(error['type'])}</b>: {text(error['message'])}</p>")
    parts.append(f"<p>{text(_ending(result))}</p>")
    rows = "".join(_row(name, value) for name, value in (result.get("metrics") or {}).items())
    if rows:
        parts.append(f"<details><summary>Metrics</summary><table>{rows}</table></details>")
    return f'<div class="rlm-result">{"".join(parts)}</div>'


def text(value: object) -> str:
    """Untrusted text between tags: escaped, and what could reorder or hide it visible."""
    return escape(visible(str(value)))


def _ending(result: Mapping[str, Any]) -> str:
    reason, turns = result["stop_reason"], result["turns"]
    cost = "cost n/a" if result["cost"] is None else f"cost {result['cost']:.4f}"
    root, sub = (_usage(result["usage"][kind]) for kind in ("root", "sub"))
    end = "answered" if reason == "answered" else f"stopped: {reason}"
    ended = f"{end}, {turns} turn{'' if turns == 1 else 's'}, {result['seconds']:.1f} s, {cost}"
    return f"{ended}; root {root}; sub {sub}; run {result['run_id']}"


def _usage(usage: Mapping[str, Any]) -> str:
    about = "~" if usage["estimated"] else ""
    return f"{about}{usage['input_tokens']:,} in {about}{usage['output_tokens']:,} out, {usage['calls']:,} calls"


def _row(name: str, value: Any) -> str:
    told = ", ".join(f"{kind}: {count}" for kind, count in value.items()) if isinstance(value, Mapping) else value
    return f"<tr><td>{text(name)}</td><td>{text('' if told is None else told)}</td></tr>"
