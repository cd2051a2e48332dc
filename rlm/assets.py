"""Where the files of `sandbox/` and `prompts/` lie: inside the wheel, or beside `rlm/` in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def asset_dir(name: str) -> Path:
    """The folder `sandbox` or `prompts`.

    In a wheel they travel as `rlm/_sandbox` and `rlm/_prompts`, so that an application's own
    `sandbox/` or `prompts/` can never be taken for ours.
    """
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
