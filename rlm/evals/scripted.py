"""`--model scripted`: the environments' oracles behind a real endpoint on loopback, in place of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rlm.config import Settings
from rlm.evals.task import Environment
from rlm.testing import ScriptedModelServer, ScriptedRequest

SCRIPTED = "scripted"
SCRIPTED_BAD = "scripted-bad"
MODELS = (SCRIPTED, SCRIPTED_BAD)

ForEnvironment = Callable[[Environment, Settings], Settings]
"""The settings of a run with the models that know this environment."""


@contextmanager
def scripted(environments: Iterable[Environment], *, bad: bool = False) -> Iterator[ForEnvironment]:
    """Serve the oracles; the models are named after the environments, for which they differ.

    An oracle that raises fails its run like an endpoint that refuses a request.
    """
    replies = {}
    for each in environments:
        root = each.oracle.bad_root if bad else each.oracle.root
        replies[root_name(each)] = partial(_reply, root, each.oracle.llm)
        replies[sub_name(each)] = partial(_reply, root, each.oracle.sub)
    with ScriptedModelServer(replies, record=1) as server:
        yield partial(_settings, server.base_url)


def root_name(environment: Environment) -> str:
    return f"{SCRIPTED}-{environment.name}"


def sub_name(environment: Environment) -> str:
    return f"{SCRIPTED}-{environment.name}-sub"


def _reply(
    root: Callable[[ScriptedRequest], Any], plain: Callable[[ScriptedRequest], Any], request: ScriptedRequest
) -> Any:
    # Rollouts stream, children as well as the root; all other calls do not.
    return root(request) if request.stream else plain(request)


def _settings(base_url: str, environment: Environment, settings: Settings) -> Settings:
    models = {"model": root_name(environment), "sub_model": sub_name(environment), "models": ()}
    return settings.model_copy(update={**models, "base_url": base_url, "sub_base_url": None})
