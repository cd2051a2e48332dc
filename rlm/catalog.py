"""What is publicly known of hosted models, by the `genai-prices` extra: prices and context windows.

A model is known by its name *and* by where it is asked: a server of one's own that serves a model under a
well-known name costs what its owner says, which is not in any catalogue. The data is that of the installed
package; nothing is looked up on the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rlm.protocols import Tokens


class Catalog:
    """Prices and windows of models at their endpoints; knows nothing where the extra is not installed."""

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        """`endpoints` is the base URL of each model by name."""
        self._endpoints = dict(endpoints)
        self._cost = lru_cache(4096)(self._look_up_cost)

    def cost(self, model: str, tokens: Tokens) -> float | None:
        """The cost of one request's tokens; None when it is not known."""
        return self._cost(model, tokens.input, tokens.output, min(tokens.cached_input, tokens.input))

    def context_window(self, model: str) -> int | None:
        """Tokens; None when it is not known."""
        found = self._find(model)
        window = getattr(found[1], "context_window", None) if found else None
        return window if isinstance(window, int) and window > 0 else None

    def _look_up_cost(self, model: str, asked: int, answered: int, cached: int) -> float | None:
        if self._find(model) is None:
            return None
        from genai_prices import Usage, calc_price

        usage = Usage(input_tokens=asked, output_tokens=answered, cache_read_tokens=cached)
        try:
            found = calc_price(usage, model, provider_api_url=self._endpoints[model])
        except (LookupError, ValueError):
            return None
        price = found.model_price
        if getattr(price, "input_mtok", None) is None or getattr(price, "output_mtok", None) is None:
            return None  # it is not priced by the token
        return float(found.total_price)

    def _find(self, model: str) -> tuple[Any, Any] | None:
        """Provider and model."""
        url = self._endpoints.get(model)
        if url is None:
            return None
        try:
            from genai_prices import data_snapshot
        except ImportError:
            return None
        try:
            return data_snapshot.get_snapshot().find_provider_model(model, None, None, url)
        except LookupError:
            return None
