"""Figures of a server for Prometheus. Only this module knows the `prometheus_client` package."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from rlm.result import RunResult
from rlm.service.jobs import Jobs

_SECONDS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

__all__ = ["CONTENT_TYPE", "ServerMetrics"]


class ServerMetrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "rlm_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._runs = Counter("rlm_runs", "Runs that ended, by stop reason.", ["stop_reason"], registry=self._registry)
        self._tokens = Counter("rlm_tokens", "Tokens by who used them.", ["part", "direction"], registry=self._registry)
        self._cost = Counter("rlm_cost", "Money, of runs with known prices.", registry=self._registry)
        self._calls = Counter("rlm_model_calls", "Requests to models.", ["part"], registry=self._registry)
        self._seconds = Histogram("rlm_run_seconds", "How long runs took.", buckets=_SECONDS, registry=self._registry)
        self._running = Gauge("rlm_runs_in_flight", "Runs that go on.", registry=self._registry)
        self._waiting = Gauge("rlm_requests_waiting", "Requests that wait for their run.", registry=self._registry)

    def watch(self, jobs: Jobs) -> None:
        self._running.set_function(lambda: jobs.running)
        self._waiting.set_function(lambda: jobs.waiting)

    def request(self, route: str, status: int) -> None:
        self._requests.labels(route, status).inc()

    def run(self, outcome: RunResult | BaseException) -> None:
        """Count a run that has ended."""
        if isinstance(outcome, BaseException):
            self._runs.labels("cancelled" if not isinstance(outcome, Exception) else "error").inc()
            return
        self._runs.labels(outcome.stop_reason).inc()
        self._seconds.observe(outcome.seconds)
        self._cost.inc(outcome.cost or 0)
        for part, used in (("root", outcome.usage.root), ("sub", outcome.usage.sub)):
            self._tokens.labels(part, "input").inc(used.input_tokens)
            self._tokens.labels(part, "output").inc(used.output_tokens)
            self._calls.labels(part).inc(used.calls)

    def page(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
