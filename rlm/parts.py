"""What a run is made of, from its settings: models, a ledger, and what the root model is told of limits."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from rlm.budget import Ledger, Limits
from rlm.calls.options import Defaults
from rlm.catalog import Catalog
from rlm.config import DEFAULT_BASE_URL, Settings
from rlm.errors import ConfigError
from rlm.models import APIS, HttpModel, profile_of
from rlm.prices import PriceTable
from rlm.prompts import render
from rlm.protocols import Model
from rlm.purse import Purse
from rlm.root import output_caps, without_caps


class Models(NamedTuple):
    """The models of a run."""

    by_depth: list[Model]
    """Of rollouts at depth 0, 1, …, and last of the plain calls at the greatest depth."""
    by_name: dict[str, Model]
    """What sub-calls may name."""

    def names_below(self, depth: int) -> tuple[str, ...]:
        """What sub-calls of a rollout at this depth may name, their default first."""
        default = self.by_depth[min(depth + 1, len(self.by_depth) - 1)].name
        return (default, *(name for name in self.by_name if name != default))

    def all(self) -> list[Model]:
        """Each of them once."""
        return list({id(model): model for model in (*self.by_depth, *self.by_name.values())}.values())


class Shared(NamedTuple):
    """What runs have in common: money, and models, whose connections outlive a run."""

    purse: Purse | None = None
    models: Models | None = None
    """Of the same settings; each run has its own if None."""


def models(settings: Settings) -> Models:
    """Raises `ConfigError` if no model is named."""
    if not settings.model_at(0):
        raise ConfigError('no model: give --model, set RLM_MODEL, or write model = "…" into the configuration')
    root, *below = [settings.model_at(depth) or "" for depth in range(settings.depth + 1)]
    known = catalog(settings)
    top = root_model(settings, root, context_window=settings.context_window or known.context_window(root))
    base_url = settings.sub_base_url or settings.base_url or DEFAULT_BASE_URL
    provider = settings.provider if settings.same_endpoint else "auto"
    subs: dict[str, Model] = {
        name: APIS[settings.api_of_subs](
            name,
            base_url=base_url,
            api_key=settings.sub_key,
            headers=settings.headers if settings.same_endpoint else None,
            params=without_caps(settings.sub_params),
            context_window=settings.sub_context_window or known.context_window(name),
            dialect=profile_of(base_url, provider).dialect,
            **_common(settings),
        )
        for name in below
    }
    return Models([top, *(subs[name] for name in below)], {root: top, **subs})


def root_model(settings: Settings, name: str, **options: Any) -> HttpModel:
    """A model at the root's endpoint."""
    base_url = settings.base_url or DEFAULT_BASE_URL
    usual = {**_common(settings), "dialect": profile_of(base_url, settings.provider).dialect}
    key = settings.api_key.get_secret_value()
    return APIS[settings.api](name, base_url=base_url, api_key=key, headers=settings.headers, **{**usual, **options})


def _common(settings: Settings) -> dict[str, Any]:
    return {"request_timeout": settings.request_timeout, "concurrency": settings.concurrency}


def catalog(settings: Settings) -> Catalog:
    """What is publicly known of the run's models, where they are asked."""
    base_url = settings.base_url or DEFAULT_BASE_URL
    root, *below = settings.model_names or [""]
    return Catalog({**dict.fromkeys(below, settings.sub_base_url or base_url), root: base_url})


def prices(settings: Settings) -> PriceTable:
    return PriceTable(settings.prices, catalog(settings))


def ledger(settings: Settings, purse: Purse | None = None) -> Ledger:
    """The run's ledger, `purse` being what it shares with other runs. Raises `ConfigError` for a limit on cost without
    the prices."""
    table = prices(settings)
    if settings.max_cost is not None or purse is not None:
        table.require(settings.model_names)
    limits = Limits(settings.max_tokens, settings.max_cost, settings.max_sub_calls, settings.timeout)
    return Ledger(limits, table, purse=purse)


def sub_max_tokens(settings: Settings) -> int:
    """The cap on a sub-call's output, which is always sent and reserved; at most half of a small window."""
    cap = min(output_caps(settings.sub_params), default=settings.sub_max_tokens)
    return min(cap, settings.sub_context_window // 2) if settings.sub_context_window else cap


def call_defaults(settings: Settings, models: Models, depth: int, *, tools: bool) -> Defaults:
    """What sub-calls of a rollout at this depth are where they say nothing else; `tools`: whether there are any."""
    return Defaults(
        models.names_below(depth),
        system=render("sub", tools=False),
        tools_system=render("sub", tools=True, max_turns=settings.sub_max_turns),
        max_tokens=sub_max_tokens(settings),
        timeout=settings.timeout,
        tools=tools,
        max_turns=settings.max_turns,
    )


def reply_salt(settings: Settings) -> str:
    """A digest of what determines replies across runs, beside the requests themselves: where they go, and how."""
    base_url = settings.base_url or DEFAULT_BASE_URL
    what: list[Any] = [base_url, settings.sub_base_url or base_url, settings.sub_params, settings.root_params]
    what += [api for api in (settings.api, settings.api_of_subs) if api != "chat"]
    return hashlib.blake2b(json.dumps(what, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


def limits_line(settings: Settings, *, max_turns: int | None = None) -> str:
    """The limits that end the run, or a child of it, as the root prompt names them."""
    turns = max_turns or settings.max_turns
    limits = ["1 turn" if turns == 1 else f"{turns:,} turns"]
    if settings.max_tokens is not None:
        limits.append(f"{settings.max_tokens:,} tokens in all")
    if settings.max_cost is not None:
        limits.append(f"a cost of {settings.max_cost:g}")
    seconds = settings.timeout
    return ", ".join([*limits, f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"])
