"""`llm_batch` and `llm_query`: sub-calls from the REPL, as the model's code sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guest.batches import OpenBatch
from guest.bridge import Bridge
from guest.media import with_media
from guest.results import CallError, SubCallError
from guest.schemas import schema_of


class SubCalls:
    """The functions that the namespace offers, over one bridge."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def llm_batch(
        self,
        prompts: Iterable[Any],
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
        schema: Any = None,
        images: Any = None,
        audio: Any = None,
        tools: bool = True,
        cache: bool = True,
        dedupe: bool = False,
        strict: bool = False,
    ) -> list[Any]:
        """Ask a sub-LLM each of `prompts`, all in parallel; returns the replies in the same order.

        A prompt is a str, a list of messages, or a dict with "prompt" or "messages" (and "system", "images", "audio").
        Each result is a str, or a falsy CallError with .kind and .message. Waiting here does not
        count against the cell's time limit.

        schema     a type (int, list[str], a dataclass …), a dict of names and types, or a JSON Schema:
                   the results are data that fits it
        images     paths, bytes or PIL images, for every prompt; or a list of lists, one for each prompt;
                   large ones are scaled down to 2048 pixels
        audio      paths or bytes of WAV or MP3, in the same way
        tools      False: without the tools that sub-LLMs may have
        cache      False: ask anew, even if this very prompt was answered before
        dedupe     True: ask equal prompts only once
        strict     True: raise SubCallError when any failed, after all have settled; it keeps `.results`
        """
        if isinstance(prompts, (str, bytes, dict)):
            raise TypeError("llm_batch takes a list of prompts; for one prompt use llm_query(prompt)")
        items = list(prompts)
        if not items:
            return []
        results = self.open(
            items,
            model=model,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            timeout=timeout,
            schema=schema,
            images=images,
            audio=audio,
            tools=tools,
            cache=cache,
            dedupe=dedupe,
        ).wait()
        if strict:
            raise_failures(results)
        return results

    def open(
        self,
        items: list[Any],
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
        schema: Any = None,
        images: Any = None,
        audio: Any = None,
        tools: bool = True,
        cache: bool = True,
        dedupe: bool = False,
        loop: int | None = None,
    ) -> OpenBatch:
        """Send a batch, and do not wait. `loop` is the line of the loop ahead of which it is asked, for the trace."""
        wanted = None if schema is None else schema_of(schema)
        options = {
            "model": model,
            "system": system,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "timeout": timeout,
            "schema": wanted.json if wanted else None,
            "tools": None if tools else False,
            "cache": None if cache else False,
            "dedupe": dedupe or None,
            "loop": loop,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return OpenBatch(
            self._bridge, with_media(items, images=images, audio=audio), given, build=wanted.finish if wanted else None
        )

    def llm_query(self, prompt: Any, *, images: Any = None, audio: Any = None, **options: Any) -> Any:
        """Ask a sub-LLM one thing; the options are those of llm_batch, `images` and `audio` those of this prompt."""
        return self.llm_batch([prompt], images=_of_one(images), audio=_of_one(audio), **options)[0]


def raise_failures(results: list[Any]) -> None:
    """Raises `SubCallError` if any failed."""
    if any(isinstance(result, CallError) for result in results):
        raise SubCallError(results)


def _of_one(media: Any) -> Any:
    """What goes with the only prompt of a batch."""
    if media is None:
        return None
    return [media] if isinstance(media, (list, tuple)) else [[media]]
