"""What the caller says about its inputs, beside their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm.config import Settings


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings that inputs are prepared by; each is a field of `Settings`, where it is described."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore: bool = True
    """Whether `.gitignore` files count."""
    max_documents: int = 500
    convert_timeout: float = 120.0
    max_download: int = 100 << 20
    allow_private_urls: bool = False
    loaders: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Choice:
        return cls(
            include=settings.include,
            exclude=settings.exclude,
            ignore=not settings.no_ignore,
            max_documents=settings.max_documents,
            convert_timeout=settings.convert_timeout,
            max_download=settings.max_download,
            allow_private_urls=settings.allow_private_urls,
            loaders=settings.loaders,
        )


AS_IS = Choice()
"""The defaults."""
