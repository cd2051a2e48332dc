"""`rlm version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version

import typer


def version() -> None:
    """Print the versions of rlm and of its Python."""
    typer.echo(f"rlm-kernel {installed_version('rlm-kernel')} (Python {platform.python_version()})")
