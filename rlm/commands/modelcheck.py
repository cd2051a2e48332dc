"""`rlm doctor --model`: one model at one endpoint, tried for real. Blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING

from rlm.commands.checks import Check
from rlm.errors import AuthError, ModelError

if TYPE_CHECKING:
    from rlm.config import Settings
    from rlm.models import Dialect, HttpModel, Profile
    from rlm.models.metadata import Listing, Window
    from rlm.models.probe import Finding

_KEY = "check OPENAI_API_KEY (or RLM_API_KEY)"


def model_checks(settings: Settings, model: str) -> Iterator[Check]:
    """Each check as soon as it is made. Raises `ConfigError` for an endpoint that cannot be one."""
    checks = _checks(settings, model)
    with asyncio.Runner() as runner:
        while (check := runner.run(_next(checks))) is not None:
            yield check


async def _next(checks: AsyncIterator[Check]) -> Check | None:
    return await anext(checks, None)


async def _checks(settings: Settings, name: str) -> AsyncIterator[Check]:
    from rlm.models import profile_of
    from rlm.models.metadata import list_models
    from rlm.models.probe import Probe
    from rlm.root import without_caps

    model = _model(settings, name)
    profile = profile_of(model.endpoint.key, settings.provider)
    listing = await list_models(model.endpoint)
    reached = _reached(model, listing)
    yield reached
    if reached.status == "fail":
        return
    yield _provider(settings, profile, listing)
    if listing.entries and listing.entry(name) is None:
        yield Check("model", "note", f"{name!r} is not among the {len(listing.entries)} listed models", "check --model")
    probe = Probe(partial(_model, settings, name), model.dialect, without_caps(settings.root_params))
    plain, error = await probe.plain()
    if error is not None:
        yield _failed(settings, plain, error)
        return
    yield _check(plain)
    async for finding in probe.rest():
        yield _check(finding)
    yield await _window(settings, model, profile, listing)


def _model(settings: Settings, name: str, dialect: Dialect | None = None) -> HttpModel:
    from rlm.models.probe import ONCE
    from rlm.parts import root_model

    timeout = min(settings.request_timeout, 120.0)
    known = {} if dialect is None else {"dialect": dialect}
    return root_model(settings, name, retry=ONCE, request_timeout=timeout, **known)


def _reached(model: HttpModel, listing: Listing) -> Check:
    where = str(model.endpoint.url("models").with_query(None))
    if listing.problem:
        fix = "is the server running, and the URL right? It usually ends in /v1"
        return Check("endpoint", "fail", f"{where}: {listing.problem}", fix, ModelError.exit_code)
    if listing.status in (401, 403):  # some list models to keys of another kind only: the call decides
        return Check("endpoint", "note", f"{where} refuses the key ({listing.status})", _KEY)
    if listing.status != 200:
        return Check("endpoint", "note", f"{where} answers {listing.status}: it does not list models")
    return Check("endpoint", "ok", f"{where} answers, {len(listing.entries)} models")


def _provider(settings: Settings, profile: Profile, listing: Listing) -> Check:
    how = "by its address" if settings.provider == "auto" else "as --provider says"
    if profile.name == "unknown" and settings.provider == "auto" and listing.provider:
        profile, how = listing.provider, "by its list of models"
    if profile.name == "unknown":
        return Check("provider", "ok", "none that is known; what it takes is found out by trying")
    return Check("provider", "ok", f"{profile.title}, {how}", "\n".join(profile.quirks))


def _failed(settings: Settings, plain: Finding, error: ModelError) -> Check:
    if isinstance(error, AuthError):
        fix = _KEY
    elif settings.api == "responses":
        fix = "does it have a Responses API? Without --api it is asked through Chat Completions"
    else:
        fix = "check --model and --base-url; `rlm doctor --model NAME --api responses` tries the other API"
    return Check(plain.name, "fail", plain.detail, fix, ModelError.exit_code)


def _check(finding: Finding) -> Check:
    if finding.level == "ok":
        return Check(finding.name, "ok", finding.detail, finding.fix)
    return Check(finding.name, "note", f"{finding.level}: {finding.detail}", finding.fix)


async def _window(settings: Settings, model: HttpModel, profile: Profile, listing: Listing) -> Check:
    """Asked for, never tried: a prompt that is too long would have to be paid, or be cut in silence."""
    from rlm.models.metadata import Window, listed_window, ollama_window
    from rlm.parts import catalog

    name, found = "context window", None
    entry = listing.entry(model.name)
    if entry is not None:
        found = listed_window(entry, profile)
    if found is None and "ollama" in (profile.name, listing.provider.name if listing.provider else ""):
        found = await ollama_window(model.endpoint, model.name)
    if found is None and (
        known := catalog(settings.model_copy(update={"model": model.name})).context_window(model.name)
    ):
        found = Window(known, "the catalogue of genai-prices")
    return _told(name, settings.context_window, found)


def _told(name: str, given: int | None, found: Window | None) -> Check:
    if found is None and given is None:
        return Check(name, "note", "unknown: neither the endpoint nor the catalogue tells it", "set --context-window")
    if found is None:
        return Check(name, "ok", f"{given:,} tokens, as --context-window says; the endpoint does not tell")
    told = f"{found.tokens:,} tokens, by {found.told_by}"
    if given is not None and given > found.tokens:
        return Check(
            name, "note", f"{told}, but --context-window says {given:,}", f"set --context-window {found.tokens}"
        )
    if not found.sure:
        return Check(name, "note", f"unknown as it is served; made for {told}", "set --context-window")
    if given is None and found.told_by != "the catalogue of genai-prices":
        return Check(name, "note", told, f"set --context-window {found.tokens}: runs do not ask for it")
    return Check(name, "ok", told)
