"""`%pip install` from within a run: the host decides, resolves and installs; the guest only asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from rlm.errors import RLMError
from rlm.kernels import packages, requirement
from rlm.protocols import Emit

MAX_NAMES = 20

Confirm = Callable[[list[str]], bool]
"""Asks the user whether these packages may be installed. Called in a thread."""


async def refuse(message: Mapping[str, Any]) -> dict[str, str]:
    """Serves the guest's `install` requests where nothing may be installed."""
    raise ValueError("No packages can be added in this run. Do without.")


class InstallHandler:
    """Serves the guest's `install` requests. A name is a message to whoever runs the index: only allowed ones leave."""

    def __init__(
        self,
        folder: Path,
        target: packages.Target,
        *,
        allow: Collection[str],
        confirm: Confirm | None,
        emit: Emit,
    ) -> None:
        self._folder = folder
        self._target = target
        self._allow = set(allow)
        self._confirm = confirm
        self._emit = emit
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, message: Mapping[str, Any]) -> dict[str, str]:
        """`{"names": […]}` -> `{"message": …}` for the model. Raises `ValueError` with what to tell it."""
        names = message.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("names: a list of package names")
        if not 1 <= len(names) <= MAX_NAMES:
            raise ValueError(f"between 1 and {MAX_NAMES} packages can be installed at once")
        async with self._one_at_a_time:
            try:
                return await self._install(names)
            except RLMError as error:
                raise ValueError(str(error)) from error

    async def _install(self, names: list[str]) -> dict[str, str]:
        wanted = [requirement.parse(name) for name in names]
        refused = requirement.refused(wanted, allow=self._allow)
        if refused and self._confirm is not None:
            confirmed: bool = await asyncio.to_thread(self._confirm, refused)
            if confirmed:
                self._allow.update(refused)
                refused = []
        if refused:
            raise ValueError(f"not allowed in this run: {', '.join(refused)}. Do without.")
        installed = await packages.install([each.text for each in wanted], target=self._target, into=self._folder)
        new = ", ".join(f"{name} {version}" for name, version in installed.distributions)
        self._emit(
            "notice", text=f"the model installed {new}" if new else "the model asked for packages that are there"
        )
        return {"message": f"Installed: {new}" if new else "All of it is installed already."}
