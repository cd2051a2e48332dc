"""What a test needs and may not have here: it is skipped then, but fails where nothing may be missing."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, NoReturn

import pytest


def lacking(why: str) -> NoReturn:
    """Skip the test, or the module that is being imported; with RLM_REQUIRE_DOCKER=1, which CI sets, fail."""
    if os.environ.get("RLM_REQUIRE_DOCKER") == "1":
        pytest.fail(f"required: {why}", pytrace=False)
    pytest.skip(why, allow_module_level=True)


def module(name: str) -> Any:
    """An optional dependency."""
    try:
        return import_module(name)
    except ImportError as error:
        lacking(str(error))
