"""What the models and the kernels of a run are told before it begins."""

from __future__ import annotations

from typing import Any

from rlm import parts
from rlm.config import Settings
from rlm.parts import Models
from rlm.prompts import render_root, tips_text
from rlm.sandboxes import package_lines
from rlm.tools import Toolbox

REPL_NAMES = frozenset(
    {"context", "originals", "answer", "history", "budget", "SHOW_VARS", "exit", "quit", "FunctionFailed"}
    | {"llm_query", "llm_batch", "llm_query_batched", "rlm_query", "rlm_batch", "rlm_query_batched"}
    | {"CallError", "CallResult", "SubCallError"}
)
"""What every kernel offers, which no function may be called."""
SUB_CHARS_PER_TOKEN = 3
"""For the size of prompts that the model is told: cautious, since a prompt that is too long is refused."""


def guest_config(settings: Settings, toolbox: Toolbox) -> dict[str, Any]:
    """What every kernel is to know beside the input."""
    return {
        "functions": toolbox.repl_functions(settings.depth == 0),
        "shipped": toolbox.shipped,
        # Tools with side effects are to be called in the order that the code says.
        "auto_parallel": settings.auto_parallel and toolbox.read_only,
        "width": settings.concurrency,
    }


def system_prompt(
    settings: Settings, models: Models, toolbox: Toolbox, depth: int, max_turns: int, *, install_asks: bool
) -> str:
    """The system prompt of a rollout at this depth; `install_asks`: a person may be asked about packages.

    Raises `ConfigError` for a template that cannot be rendered.
    """
    functions = [*toolbox.repl_functions(settings.depth == 0), *toolbox.shipped]
    below = min(depth + 1, len(models.by_depth) - 1)
    window = models.by_depth[below].context_window
    return render_root(
        settings.prompt,
        native_tools=settings.native_tools,
        child=depth > 0,
        sub_calls=settings.depth > 0,
        deeper=depth + 1 < settings.depth,
        sub_window_chars=(window - parts.sub_max_tokens(settings)) * SUB_CHARS_PER_TOKEN if window else None,
        sub_max_tokens=parts.sub_max_tokens(settings),
        output_limit=settings.output_limit,
        cell_timeout=settings.cell_timeout,
        limits=parts.limits_line(settings, max_turns=max_turns),
        max_sub_calls=settings.max_sub_calls,
        packages=package_lines(settings),
        installable=settings.allow_install,
        install_asks=install_asks,
        tips=tips_text(settings.tips),
        sub_tools=bool(toolbox.definitions),
        functions=[function["summary"] for function in functions],
    )
