"""What the whole suite shares: tests that need an engine, bubblewrap, Chromium or `mcp` are skipped without.

RLM_REQUIRE_DOCKER=1 turns these skips into failures, so that CI cannot pass without having run them.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from functools import cache

import pytest

from rlm.errors import SandboxError
from rlm.kernels import environment, image
from tests.needs import lacking


@cache
def _missing(need: str) -> str | None:
    """Why `need` cannot be had here; None if it can. Found out by trying."""
    if need == "docker":
        from rlm.kernels.engine import connect

        try:
            connect().close()
        except SandboxError as error:
            return str(error)
        return None
    if need == "mcp":
        return None if importlib.util.find_spec("mcp") else "the package is not installed"
    if need == "chromium":
        if not importlib.util.find_spec("playwright"):
            return "the package playwright is not installed"
        return None if shutil.which("chromium") else "Chromium is not installed"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    tried = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for need in ("docker", "bwrap", "chromium", "mcp"):
        if item.get_closest_marker(need) and (why := _missing(need)):
            lacking(f"{need}: {why}")


@pytest.fixture(scope="session")
def sandbox_env() -> environment.SandboxEnv:
    """The sandbox environment of this machine, built once and kept in the user's cache."""
    return environment.ensure()


@pytest.fixture(scope="session")
def sandbox_image() -> str:
    """The tag of the current sandbox image, built if it is missing; for tests that are marked `docker`."""
    return image.ensure()
