"""Import modules of `sandbox/guest` in a test: they are a package of their own, apart from `rlm`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

SANDBOX = Path(__file__).resolve().parent.parent / "sandbox"


def guest_module(name: str) -> ModuleType:
    if str(SANDBOX) not in sys.path:
        sys.path.insert(0, str(SANDBOX))
    return importlib.import_module(f"guest.{name}")
