"""The runs of a batch as Ray tasks, on the machines of a cluster.

Ray places each run by the CPU and memory that it asks for, and starts it again elsewhere when its machine is lost; it
then goes on from its trace. Results come back to the driver, which alone writes them. One actor, on the driver's
machine and gone with it, holds the limit on requests in flight and the money (`rlm.batches.shares`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

from rlm import parts
from rlm.batches.local import cost_so_far, play_task
from rlm.batches.results import JOURNAL
from rlm.batches.shares import GrantedPurse, Shares
from rlm.batches.tasks import BatchTask
from rlm.config import Settings
from rlm.errors import ConfigError, InputError, RunError, UserError
from rlm.gates import Gate
from rlm.kernels import leases, scratch
from rlm.models import ChatModel
from rlm.parts import Shared
from rlm.purse import Purse
from rlm.result import RunResult

RETRIES = 5
"""How often a run is begun again whose machine was lost."""
HOST_MEMORY = 256 << 20
"""Bytes for a run beside its sandbox."""
SANDBOX_MEMORY = 2 << 30
BEAT = 0.5
"""Seconds between two words of a run about how many requests it has in flight."""
PIECES = 8
"""Into how many pieces the money is cut for each of the runs that go on."""


class RayExecutor:
    """An `Executor`. `address` is that of the cluster; without one RAY_ADDRESS counts, or Ray is started here.

    Raises `ConfigError` if Ray is not installed, not to be reached, or no machine is large enough for one run.
    """

    ahead = 0

    def __init__(
        self, settings: Settings, *, workers: int, address: str | None = None, cpus: float = 1.0, purse: Purse | None
    ) -> None:
        ray = _ray()
        try:
            ray.init(address, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"no Ray cluster can be reached: {' '.join(str(error).split())[:300]}") from error
        self._ray = ray
        self._purse = purse
        memory = (settings.memory or SANDBOX_MEMORY) + HOST_MEMORY
        _check_size(ray, cpus, memory)
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        money = None if purse is None else purse.left()
        self._shares = (
            ray.remote(Shares)
            .options(num_cpus=0, scheduling_strategy=here, max_restarts=0)
            .remote(concurrency=settings.concurrency, money=money)
        )
        self._piece = None if money is None else money / (PIECES * workers)
        # An argument, not the environment of the job: that one the dashboard shows, with the keys in it.
        self._settings = ray.put(settings)
        self._play = ray.remote(_play).options(
            num_cpus=cpus, memory=memory, max_retries=RETRIES, retry_exceptions=False, name="rlm-run"
        )

    async def play(self, task: BatchTask, run_id: str, gate: Gate) -> RunResult:
        async with gate():
            going = self._play.remote(self._settings, task, run_id, self._shares, self._piece)
            try:
                result = RunResult.from_dict(await going)
            except asyncio.CancelledError:
                self._ray.cancel(going)
                with contextlib.suppress(self._ray.exceptions.RayError):
                    await going
                raise
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause if isinstance(error.cause, UserError) else RunError(_short(error.cause))
                return await self._failed(run_id, cause)
            except self._ray.exceptions.RayError as error:
                return await self._failed(run_id, RunError(f"its machine was lost: {_short(error)}"))
            cost = await self._shares.end.remote(run_id, result.cost or 0.0)
            if self._purse is not None:
                self._purse.spend(cost)
            return result

    async def aclose(self) -> None:
        await asyncio.to_thread(self._ray.shutdown)

    async def _failed(self, run_id: str, error: BaseException) -> RunResult:
        """Raises a mistake of the user's."""
        await self._shares.leave.remote(run_id)
        if isinstance(error, UserError):
            raise error
        return RunResult.without_run(error, run_id=run_id)


def _play(settings: Settings, task: BatchTask, run_id: str, shares: Any, piece: float | None) -> dict[str, Any]:
    """One run, in a process of some machine."""
    folder = settings.trace_dir
    if folder is None or not (folder.parent / JOURNAL).is_file():
        raise InputError(f"the machine {socket.gethostname()} does not see {folder}: all need the same files")
    with contextlib.suppress(OSError):
        leases.reap()
        scratch.reap()
    try:
        return asyncio.run(_played(settings, task, run_id, shares, piece)).to_dict()
    except InputError as error:
        raise InputError(f"{error} (on the machine {socket.gethostname()}; all need the same files)") from None


async def _played(settings: Settings, task: BatchTask, run_id: str, shares: Any, piece: float | None) -> RunResult:
    assert settings.trace_dir is not None
    await shares.begin.remote(run_id, await asyncio.to_thread(cost_so_far, settings, settings.trace_dir / run_id))
    purse = None
    if piece is not None:
        purse = GrantedPurse(lambda amount: shares.more.remote(run_id, amount), piece=piece, cap=piece * PIECES)
    models = parts.models(settings)
    beside = [asyncio.create_task(purse.fill())] if purse else []
    try:
        await _place(models, shares, run_id)
        beside.append(asyncio.create_task(_follow(models, shares, run_id)))
        return await play_task(settings, task, run_id, shared=Shared(purse, models))
    finally:
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for model in models.all():
            await model.aclose()


async def _place(models: parts.Models, shares: Any, run_id: str) -> int:
    """Ask for places, and keep to what was granted; returns how many it is."""
    limiters = {id(model.limiter): model.limiter for model in models.all() if isinstance(model, ChatModel)}.values()
    in_flight = max(limiter.in_flight for limiter in limiters)
    wanted = max(limiter.in_flight + limiter.waiting for limiter in limiters)
    granted: int = await shares.places.remote(run_id, in_flight, wanted)
    while not granted and not in_flight:
        await asyncio.sleep(BEAT)
        granted = await shares.places.remote(run_id, in_flight, wanted)
    for limiter in limiters:
        limiter.set_ceiling(granted)
    return granted


async def _follow(models: parts.Models, shares: Any, run_id: str) -> None:
    while True:
        await asyncio.sleep(BEAT)
        await _place(models, shares, run_id)


def _ray() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray: its package is missing: pip install 'rlm-kernel[ray]'") from None
    return ray


def _check_size(ray: Any, cpus: float, memory: int) -> None:
    """Raise `ConfigError` if a run would wait for ever."""
    sizes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(size.get("CPU", 0) >= cpus and size.get("memory", 0) >= memory for size in sizes):
        need = f"{cpus:g} CPUs and {memory / (1 << 30):.1f} GiB for a run"
        raise ConfigError(f"no machine of the cluster has {need} (--ray-cpus, --memory)")


def _short(error: BaseException | None) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
