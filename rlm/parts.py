"""What a run is made of, from its settings: models, a ledger, and what the root model is told of limits."""

from __future__ import annotations

from typing import Any

from rlm.budget import Ledger, Limits
from rlm.config import DEFAULT_BASE_URL, Settings
from rlm.errors import ConfigError
from rlm.models import ChatModel
from rlm.prices import PriceTable
from rlm.protocols import Model


def models(settings: Settings) -> tuple[Model, dict[str, Model]]:
    """The root model, and the models that sub-calls may name, the default first."""
    if not settings.model:
        raise ConfigError('no model: give --model, set RLM_MODEL, or write model = "…" into the configuration')
    base_url = settings.base_url or DEFAULT_BASE_URL
    common: dict[str, Any] = {"request_timeout": settings.request_timeout, "concurrency": settings.concurrency}
    root = ChatModel(
        settings.model,
        base_url=base_url,
        api_key=settings.api_key.get_secret_value(),
        headers=settings.headers,
        context_window=settings.context_window,
        **common,
    )
    name = settings.sub_model_name or settings.model
    sub = ChatModel(
        name,
        base_url=settings.sub_base_url or base_url,
        api_key=settings.sub_key,
        headers=settings.headers if settings.same_endpoint else None,
        params=settings.sub_params,
        context_window=settings.sub_context_window,
        **common,
    )
    return root, {name: sub} if name == settings.model else {name: sub, settings.model: root}


def ledger(settings: Settings) -> Ledger:
    """The run's ledger. Raises `ConfigError` for a limit on cost without the prices."""
    prices = PriceTable(settings.prices)
    if settings.max_cost is not None:
        prices.require(dict.fromkeys(filter(None, (settings.model, settings.sub_model_name))))
    return Ledger(Limits(settings.max_tokens, settings.max_cost, settings.max_sub_calls), prices)


def sub_max_tokens(settings: Settings) -> int:
    """The cap on a sub-call's output; at most half of a small window."""
    window = settings.sub_context_window
    return min(settings.sub_max_tokens, window // 2) if window else settings.sub_max_tokens


def limits_line(settings: Settings) -> str:
    """The limits that end the run, as the root prompt names them."""
    limits = ["1 turn" if settings.max_turns == 1 else f"{settings.max_turns:,} turns"]
    if settings.max_tokens is not None:
        limits.append(f"{settings.max_tokens:,} tokens in all")
    if settings.max_cost is not None:
        limits.append(f"a cost of {settings.max_cost:g}")
    seconds = settings.timeout
    return ", ".join([*limits, f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"])
