"""What the models of a run cost, as far as it is known: for the figures of single turns and calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rlm.catalog import Catalog
from rlm.config import DEFAULT_BASE_URL, Price
from rlm.events import Event
from rlm.prices import PriceTable
from rlm.protocols import Tokens

_SAMPLE = 1000
"""Tokens whose price stands for that of one."""

Prices = dict[str, list[float]]
"""By model: the price of one token of input, of output, and of input that the endpoint had in its cache."""


def prices_of(started: Event) -> Prices:
    """By the settings in a `run.started` event, else by the catalogue; a model without a price is left out."""
    settings = started.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    names = [str(name) for name in started.get("models") or [] if name]
    base_url = str(settings.get("base_url") or DEFAULT_BASE_URL)
    below = str(settings.get("sub_base_url") or base_url)
    endpoints = {**dict.fromkeys(names[1:], below), **dict.fromkeys(names[:1], base_url)}
    table = PriceTable(_configured(settings.get("prices")), Catalog(endpoints))
    known: Prices = {}
    for name in names:
        samples = (Tokens(_SAMPLE), Tokens(0, _SAMPLE), Tokens(_SAMPLE, cached_input=_SAMPLE))
        costs = [cost for sample in samples if (cost := table.cost(name, sample)) is not None]
        if len(costs) == len(samples):
            known[name] = [cost / _SAMPLE for cost in costs]
    return known


def _configured(prices: Any) -> dict[str, Price]:
    if not isinstance(prices, Mapping):
        return {}
    try:
        return {str(name): Price.model_validate(price) for name, price in prices.items()}
    except ValidationError:
        return {}  # a trace that says something else is not worth a refusal to show it
