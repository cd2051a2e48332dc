"""The `answer` dict: a scratchpad that is never lost.

Every mutation is pushed to the host over the bridge, at most every `PUSH_EVERY` seconds; the rest
follows when the cell ends, or by the kernel's heartbeat thread.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

PUSH_EVERY = 0.05
MAX_CONTENT = 2 << 20
"""Characters of `content` that count: as JSON they take up to six bytes each, and have to fit a frame."""


def as_text(content: object, *, typed: bool = False) -> tuple[str, str | None]:
    """`content` as text, and a remark for the model if something had to be done to it.

    `typed`: data is asked for, so that what is no str counts as JSON.
    """
    if isinstance(content, str):
        text, remark = str(content), None
    elif content is None:
        text, remark = "", None
    elif typed and (data := _as_json(content)) is not None:
        text, remark = data, None
    elif isinstance(content, (bool, int, float)):
        text, remark = str(content), None
    else:
        text, remark = _describe(content)
    if len(text) > MAX_CONTENT:
        remark = f'answer["content"] has {len(text):,} characters; only the first {MAX_CONTENT:,} count.'
        text = text[:MAX_CONTENT]
    return clean(text), remark


def clean(text: str) -> str:
    """Without lone surrogates, which no file, terminal or endpoint could take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _as_json(content: object) -> str | None:
    try:
        return json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _describe(content: object) -> tuple[str, str]:
    kind = type(content).__name__
    try:
        if isinstance(content, (list, dict, tuple)):
            text = json.dumps(content, ensure_ascii=False)
            return text, f'answer["content"] is a {kind}; it counts as JSON text.'
    except (TypeError, ValueError, RecursionError):
        kind = f"{kind} that is not JSON"
    try:
        return str(content), f'answer["content"] is a {kind}; its str() counts. A str is safest.'
    except BaseException as error:
        # The object's own code may raise anything, `SystemExit` included.
        return "", f'answer["content"] is a {kind} without a text ({type(error).__name__}: {error}); assign a str.'


class AnswerDict(dict[str, Any]):
    """`{"content": …, "ready": bool}`; calls `on_change` after every mutation."""

    def __init__(self, on_change: Callable[[], None], content: object = "") -> None:
        super().__init__(content=content, ready=False)
        self._on_change = on_change

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._on_change()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._on_change()

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        self._on_change()

    def __ior__(self, other: Any) -> AnswerDict:  # type: ignore[override,misc]
        super().update(other)
        self._on_change()
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        self._on_change()
        return value

    def pop(self, *args: Any) -> Any:
        value = super().pop(*args)
        self._on_change()
        return value

    def popitem(self) -> tuple[str, Any]:
        item = super().popitem()
        self._on_change()
        return item

    def clear(self) -> None:
        super().clear()
        self._on_change()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class AnswerKeeper:
    """Owns the `answer` of one kernel: pushes it, mends it when a cell has broken it."""

    def __init__(
        self,
        push: Callable[[dict[str, Any]], None],
        *,
        flush: Callable[[], None],
        content: str = "",
        version: int = 0,
        typed: bool = False,
    ) -> None:
        self._push = push
        self._flush = flush
        self._typed = typed
        self._lock = threading.RLock()
        self._pushed: tuple[str, bool] = (content, False)
        self._pushed_at = 0.0
        self._dirty = False
        self._remarked: str | None = None
        self.version = version
        self.answer = AnswerDict(self.changed, content)

    def changed(self) -> None:
        self._dirty = True
        if time.monotonic() - self._pushed_at >= PUSH_EVERY and self.push():
            # The cell's next line may be its last, and an answer is worth a moment.
            self._flush()

    def push(self) -> bool:
        """Send the current state if the host does not have it; says whether there was anything to send."""
        with self._lock:
            self._dirty = False
            state = self.state()
            if state == self._pushed:
                return False
            self._pushed, self._pushed_at = state, time.monotonic()
            self.version += 1
            content, ready = state
            self._push({"content": content, "ready": ready, "version": self.version})
            return True

    def beat(self) -> None:
        if self._dirty:
            self.push()

    def state(self) -> tuple[str, bool]:
        try:
            ready = bool(self.answer.get("ready", False))
        except BaseException:
            # An object whose truth raises (a numpy array does), whatever it raises, does not end a run.
            ready = False
        return as_text(self.answer.get("content", ""), typed=self._typed)[0], ready

    def settle(self, namespace: dict[str, Any]) -> list[str]:
        """After a cell: take over what was bound to `answer`, restore the dict, push. Returns remarks."""
        remarks = self._mend(namespace)
        remark = as_text(self.answer.get("content", ""), typed=self._typed)[1]
        if remark and remark != self._remarked:
            remarks.append(remark)
        self._remarked = remark
        self.push()
        return remarks

    def _mend(self, namespace: dict[str, Any]) -> list[str]:
        found = namespace.get("answer", self)
        if found is self.answer:
            return []
        namespace["answer"] = self.answer
        if found is self:
            return ["`answer` was deleted; it is back, with its last content."]
        if isinstance(found, dict):
            self.answer.update({key: found[key] for key in ("content", "ready") if key in found})
            return []
        self.answer["content"] = found
        return [
            f"`answer` was rebound to a {type(found).__name__}; it is a dict again and the value is in "
            'answer["content"]. To finish, set answer["ready"] = True.'
        ]
