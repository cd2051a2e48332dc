"""Prompts that carry images and sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from guest import audio, images

MAX_EACH = 50
"""Images, or recordings, of one prompt."""
KINDS: dict[str, Callable[[Any], dict[str, str]]] = {"images": images.encode, "audio": audio.encode}


def with_media(prompts: list[Any], **given: Any) -> list[Any]:
    """The prompts as objects that carry what is `given`, by kind, and what they name themselves, encoded.

    Of each kind there is one list for all prompts, or a list of lists, one for each. Raises `ValueError` and
    `TypeError`, and what reading a file raises.
    """
    if all(media is None for media in given.values()) and not any(isinstance(prompt, dict) for prompt in prompts):
        return prompts
    own = {kind: [prompt.get(kind) if isinstance(prompt, dict) else None for prompt in prompts] for kind in KINDS}
    shared = {kind: _for_each(kind, given.get(kind), len(prompts)) for kind in KINDS}
    encoded = {
        kind: _encoded(kind, encode, [group for group in (*own[kind], *shared[kind]) if group is not None])
        for kind, encode in KINDS.items()
    }
    return [
        _carrying(
            prompt,
            {kind: [*_of(encoded, kind, own[kind][at]), *_of(encoded, kind, shared[kind][at])] for kind in KINDS},
        )
        for at, prompt in enumerate(prompts)
    ]


def _for_each(kind: str, given: Any, count: int) -> list[Any]:
    if given is None:
        return [None] * count
    each = list(given) if isinstance(given, (list, tuple)) else [given]
    if not (each and all(isinstance(group, (list, tuple)) for group in each)):
        each = [each] * count
    if len(each) != count:
        raise ValueError(f"{kind} for {len(each)} prompts, and there are {count}")
    return each


def _encoded(kind: str, encode: Callable[[Any], dict[str, str]], groups: list[Any]) -> dict[int, list[dict[str, str]]]:
    """What groups come to, by their identity: a group that goes with many prompts is encoded once."""
    lists = {id(group): _listed(group) for group in groups}
    for items in lists.values():
        if len(items) > MAX_EACH:
            raise ValueError(f"{len(items)} {kind}; a prompt takes at most {MAX_EACH}")
    flat = [item for items in lists.values() for item in items]
    if len(flat) < 2:
        done = iter([encode(item) for item in flat])
    else:
        # Decoding and scaling leave the interpreter's lock.
        with ThreadPoolExecutor(min(len(flat), os.cpu_count() or 1, 8)) as pool:
            done = iter(list(pool.map(encode, flat)))
    return {key: [next(done) for _ in items] for key, items in lists.items()}


def _listed(group: Any) -> list[Any]:
    if isinstance(group, (str, bytes, os.PathLike)) or hasattr(group, "save") or not isinstance(group, Iterable):
        return [group]
    return list(group)


def _of(encoded: dict[str, dict[int, list[dict[str, str]]]], kind: str, group: Any) -> list[dict[str, str]]:
    return [] if group is None else encoded[kind][id(group)]


def _carrying(prompt: Any, media: dict[str, list[dict[str, str]]]) -> Any:
    carried = {kind: items for kind, items in media.items() if items}
    if isinstance(prompt, dict):
        return {**{key: value for key, value in prompt.items() if key not in KINDS}, **carried}
    if not carried:
        return prompt
    return {("prompt" if isinstance(prompt, str) else "messages"): prompt, **carried}
