"""From inputs to what a run needs of them: mounts, the guest's configuration, and a preview."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rlm.context.choice import AS_IS, Choice
from rlm.context.layout import Layout
from rlm.context.manifest import Item
from rlm.context.preview import preview
from rlm.context.sources import Input, Resolver
from rlm.context.spool import Spool
from rlm.protocols import Mount


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """The input of one run."""

    mounts: tuple[Mount, ...]
    config: dict[str, Any]
    """Plain JSON for the guest (`guest.inputs`); small whatever the size of the input."""
    preview: str
    """What the root model is told; the quoted content is untrusted."""
    items: tuple[Item, ...]
    bytes: int
    memory: int
    """The sandbox's memory limit in bytes, as given, or `max(2 GiB, 3 x bytes)`."""
    notices: tuple[str, ...] = ()
    """What the user should know, e.g. files that were left out."""

    @property
    def manifest(self) -> list[dict[str, Any]]:
        """One dict per input, for events: `name, kind, type, source, bytes, characters, files, fingerprint`."""
        return [item.to_dict() for item in self.items]

    def fingerprint(self) -> dict[str, str]:
        """A cheap hash by name, of sizes, times and inodes."""
        return {item.name: item.fingerprint() for item in self.items}

    def sha256(self, stopped: Callable[[], bool] = bool) -> dict[str, str]:
        """A hash of the contents by name; reads everything. Raises `InputError`, and `Stopped` if `stopped` says so."""
        return {item.name: item.sha256(stopped) for item in self.items}

    def local_config(self) -> dict[str, Any]:
        """The configuration for a sandbox without mounts: it finds everything where the host has it."""
        return {**self.config, "roots": [mount.source for mount in self.mounts]}


def prepare(
    inputs: Sequence[Input],
    *,
    spool_dir: str | Path,
    memory: int | None = None,
    foreign_uid: bool = True,
    stdin: BinaryIO | None = None,
    choice: Choice = AS_IS,
) -> PreparedInput:
    """Look at the inputs, and spool what cannot be mounted into `spool_dir` (made if need be, mode 0700).

    `memory` is the sandbox's limit in bytes, by default what suits the input. `foreign_uid` says that the
    sandbox runs as another user, so that files which that user could not read are staged. Sizes come from
    `stat`: only stdin, pipes and staged files are read, in constant memory, and what is to be fetched, extracted or
    converted to text. Blocks; raises `InputError`, and `ConfigError` for a loader that cannot be found.
    """
    spool = Spool(Path(spool_dir).absolute())
    resolver = Resolver(spool, stdin, choice)
    layout = Layout(spool, foreign_uid=foreign_uid, choice=choice)
    looks = layout.lay_out(resolver.resolve(inputs), memory)
    items = tuple(look.item for look in looks)
    return PreparedInput(
        mounts=tuple(layout.mounts),
        config=layout.config(looks),
        preview=preview(looks),
        items=items,
        bytes=sum(item.bytes for item in items),
        memory=layout.memory,
        notices=(*resolver.notices, *layout.notices),
    )
