"""`llm_batch` and `llm_query`: sub-calls from the REPL, as the model's code sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guest import images as image_parts
from guest.batches import OpenBatch
from guest.bridge import Bridge
from guest.results import CallError, Data, SubCallError
from guest.schemas import Schema, schema_of


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
        tools: bool = True,
        cache: bool = True,
        dedupe: bool = False,
        strict: bool = False,
    ) -> list[Any]:
        """Ask a sub-LLM each of `prompts`, all in parallel; returns the replies in the same order.

        A prompt is a str, a list of messages, or a dict with "prompt" or "messages" (and "system", "images").
        Each result is a str, or a falsy CallError with .kind and .message. Waiting here does not
        count against the cell's time limit.

        schema     a type (int, list[str], a dataclass …), a dict of names and types, or a JSON Schema:
                   the results are data that fits it
        images     paths, bytes or PIL images, for every prompt; or a list of lists, one for each prompt
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
        }
        batch = OpenBatch(
            self._bridge,
            with_images(items, images),
            {name: value for name, value in options.items() if value is not None},
        )
        return settled(batch.wait(), wanted, strict=strict)

    def llm_query(self, prompt: Any, *, images: Any = None, **options: Any) -> Any:
        """Ask a sub-LLM one thing; the options are those of llm_batch, `images` those of this prompt."""
        return self.llm_batch([prompt], images=None if images is None else [images], **options)[0]


def settled(results: list[Any], wanted: Schema | None, *, strict: bool) -> list[Any]:
    """The outcomes as the caller gets them: data as values. Raises `SubCallError` if `strict` and any failed."""
    done = [build(result, wanted) for result in results]
    if strict and any(isinstance(result, CallError) for result in done):
        raise SubCallError(done)
    return done


def build(result: Any, wanted: Schema | None) -> Any:
    """Data as the value that was asked for."""
    if not isinstance(result, Data) or wanted is None:
        return result
    try:
        return wanted.build(result.value)
    except (ValueError, TypeError, KeyError) as error:
        # The checks of a class of the cell's own, which the host does not know.
        return CallError("invalid", f"{type(error).__name__}: {error}"[:1000], result.text)


def with_images(prompts: list[Any], images: Any) -> list[Any]:
    """The prompts as objects that carry their images, encoded."""
    if images is None:
        return [_own_images(prompt) for prompt in prompts]
    each = list(images) if isinstance(images, (list, tuple)) else [images]
    if not (each and all(isinstance(group, (list, tuple)) for group in each)):
        each = [each] * len(prompts)
    if len(each) != len(prompts):
        raise ValueError(f"images for {len(each)} prompts, and there are {len(prompts)}")
    encoded: dict[int, Any] = {}
    for group in each:
        if id(group) not in encoded:
            encoded[id(group)] = image_parts.encode(group)
    return [_add_images(prompt, encoded[id(group)]) for prompt, group in zip(prompts, each, strict=True)]


def _own_images(prompt: Any) -> Any:
    if isinstance(prompt, dict) and prompt.get("images"):
        return {**prompt, "images": image_parts.encode(prompt["images"])}
    return prompt


def _add_images(prompt: Any, images: list[dict[str, str]]) -> Any:
    prompt = _own_images(prompt)
    if isinstance(prompt, dict):
        return {**prompt, "images": [*prompt.get("images", []), *images]}
    return {("prompt" if isinstance(prompt, str) else "messages"): prompt, "images": images}
