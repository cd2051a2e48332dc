"""`--otel`: spans to the OTLP/HTTP collector that the standard OTEL_* environment names."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rlm.commands.console import say
from rlm.config import Settings
from rlm.errors import ConfigError
from rlm.events import Sink

FLUSH_SECONDS = 2.0
"""How long the end of a run waits for the last spans to arrive."""
DELAY_MS = 1000
"""How long spans are collected before they are sent."""


@contextmanager
def spans(settings: Settings) -> Iterator[list[Sink]]:
    """What listens to a run for the sake of `--otel`, if that was given."""
    with listeners(settings) as made:
        yield made()


@contextmanager
def listeners(settings: Settings) -> Iterator[Callable[[], list[Sink]]]:
    """The same for many runs: makes what listens to each of them."""
    if not settings.otel:
        yield list
        return
    with provider() as made:
        from rlm.otel import Spans

        yield lambda: [Spans(made)]


@contextmanager
def provider() -> Iterator[Any]:
    """A `TracerProvider` whose spans are sent in the background; what is left is sent at the end, within bounds.

    A collector that is not there is told in one line and harms nothing. Raises `ConfigError` if the extra is missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    except ImportError:
        raise ConfigError("--otel: its packages are missing: pip install 'rlm-kernel[otel]'") from None

    class Exporter(OTLPSpanExporter):
        lost = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            self.lost += len(spans) if result is not SpanExportResult.SUCCESS else 0
            return result

    # It tells each failure with a traceback; ours is one line.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    exporter = Exporter()
    made = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: "rlm"}), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=DELAY_MS, max_queue_size=1 << 16))
    try:
        yield made
    finally:
        # In a thread: a collector that takes the connection and never answers must not keep the run.
        ending = threading.Thread(target=made.shutdown, name="rlm-otel", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)
        if ending.is_alive() or exporter.lost:
            say("note: spans were lost: the collector of --otel did not take them")
