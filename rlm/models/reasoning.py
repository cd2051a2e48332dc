"""Encrypted reasoning between the requests of a conversation, which is kept here since nothing is stored elsewhere.

A reasoning model that calls a tool goes on better with its own thoughts on it at hand. They come as opaque
items before the call, and go back with it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

MOST_CALLS = 4096


class Kept:
    """The reasoning items of the latest tool calls by their ids. Thread-safe.

    What is forgotten, or was said to another process, is not sent: the model thinks anew.
    """

    def __init__(self, most: int = MOST_CALLS) -> None:
        self._most = most
        self._by_call: OrderedDict[str, tuple[dict[str, Any], ...]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, call_id: str, items: Sequence[Mapping[str, Any]]) -> None:
        """The items that came before this call.

        An id that comes twice names nothing: thoughts must not get from one conversation into another.
        """
        with self._lock:
            if call_id in self._by_call:
                self._by_call[call_id] = ()
            elif call_id:
                self._by_call[call_id] = tuple(dict(item) for item in items if item.get("encrypted_content"))
            while len(self._by_call) > self._most:
                self._by_call.popitem(last=False)

    def recalled(self, call_id: str) -> tuple[dict[str, Any], ...]:
        """The items to send before this call."""
        with self._lock:
            return self._by_call.get(call_id, ())
