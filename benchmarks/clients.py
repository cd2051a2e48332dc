"""The same calls through bare HTTP clients, the official package, and `ChatModel.complete`.

    python -m benchmarks.clients [--calls 1000] [--concurrency 256] [--delay 0.05] [--rounds 5] [--profile]

The endpoint is a scripted server in a process of its own. Prints medians over the rounds: wall time,
the client's CPU time, and the highest concurrency that the server saw. The rounds of all clients are
interleaved, so that a noisy moment of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import multiprocessing
import pstats
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import httpx
from openai import AsyncOpenAI, DefaultAioHttpClient

from rlm.models import ChatModel
from rlm.testing import ScriptedModelServer

Call = Callable[[int], Awaitable[str]]
Batch = Callable[[str, int, int], Coroutine[Any, Any, None]]


def serve(pipe: Connection, delay: float) -> None:
    """Runs the endpoint; every message on the pipe is answered with the highest concurrency since the last."""
    with ScriptedModelServer({"sub": "the reply"}, delay=delay, record=1) as server:
        pipe.send(server.base_url)
        while pipe.recv():
            pipe.send(server.max_in_flight)
            server.reset_counts()


def messages(index: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Summarise section {index}. " + "x" * 2000}]


async def bounded(call: Call, calls: int, concurrency: int) -> None:
    """What a user of a bare client writes: a semaphore around each call."""
    slots = asyncio.Semaphore(concurrency)

    async def one(index: int) -> str:
        async with slots:
            return await call(index)

    check(await asyncio.gather(*(one(index) for index in range(calls))))


def check(texts: list[str]) -> None:
    if set(texts) != {"the reply"}:
        raise SystemExit(f"unexpected replies: {set(texts)}")


async def bare_httpx(base_url: str, calls: int, concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def call(index: int) -> str:
            body = {"model": "sub", "messages": messages(index)}
            response = await client.post(f"{base_url}/chat/completions", json=body)
            return str(response.json()["choices"][0]["message"]["content"])

        await bounded(call, calls, concurrency)


async def bare_aiohttp(base_url: str, calls: int, concurrency: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(index: int) -> str:
            body = {"model": "sub", "messages": messages(index)}
            async with session.post(f"{base_url}/chat/completions", json=body) as response:
                return str((await response.json())["choices"][0]["message"]["content"])

        await bounded(call, calls, concurrency)


async def bare_openai(base_url: str, calls: int, concurrency: int, **options: Any) -> None:
    async with AsyncOpenAI(api_key="key", base_url=base_url, max_retries=0, **options) as client:

        async def call(index: int) -> str:
            reply: Any = await client.chat.completions.create(model="sub", messages=messages(index))  # type: ignore[arg-type]
            return str(reply.choices[0].message.content)

        await bounded(call, calls, concurrency)


async def openai_over_aiohttp(base_url: str, calls: int, concurrency: int) -> None:
    await bare_openai(base_url, calls, concurrency, http_client=DefaultAioHttpClient())


async def ours(base_url: str, calls: int, concurrency: int) -> None:
    model = ChatModel("sub", base_url=base_url, api_key="key", concurrency=concurrency)
    try:
        replies = await asyncio.gather(*(model.complete(messages(index), max_tokens=100) for index in range(calls)))
        check([reply.text for reply in replies])
    finally:
        await model.aclose()


CLIENTS: dict[str, Batch] = {
    "bare httpx": bare_httpx,
    "bare AsyncOpenAI": bare_openai,
    "AsyncOpenAI over aiohttp": openai_over_aiohttp,
    "bare aiohttp": bare_aiohttp,
    "ours (ChatModel)": ours,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each reply")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="profile one round of ours")
    options = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    server = context.Process(target=serve, args=(far_end, options.delay), daemon=True)
    server.start()
    base_url = pipe.recv()
    try:
        if options.profile:
            profile(base_url, options.calls, options.concurrency)
        else:
            compare(base_url, pipe, options)
    finally:
        pipe.send(None)
        server.join()


def compare(base_url: str, pipe: Connection, options: argparse.Namespace) -> None:
    walls: dict[str, list[float]] = {name: [] for name in CLIENTS}
    cpus: dict[str, list[float]] = {name: [] for name in CLIENTS}
    peaks = dict.fromkeys(CLIENTS, 0)
    for _ in range(options.rounds):
        for name, batch in CLIENTS.items():
            cpu, wall = time.process_time(), time.perf_counter()
            asyncio.run(batch(base_url, options.calls, options.concurrency))
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
            pipe.send("peak")
            peaks[name] = max(peaks[name], pipe.recv())
    print(f"{options.calls} calls, {options.delay * 1000:g} ms each, concurrency {options.concurrency}:")
    print(f"medians of {options.rounds} rounds\n")
    print(f"{'client':26}{'wall s':>8}{'cpu s':>8}{'peak':>6}")
    for name in CLIENTS:
        print(f"{name:26}{statistics.median(walls[name]):8.2f}{statistics.median(cpus[name]):8.2f}{peaks[name]:6}")
    mine = statistics.median(walls["ours (ChatModel)"])
    print(f"\nours / bare aiohttp      {mine / statistics.median(walls['bare aiohttp']):.2f}  (goal: at most 2)")
    print(f"ours / bare AsyncOpenAI  {mine / statistics.median(walls['bare AsyncOpenAI']):.2f}  (goal: under 0.5)")


def profile(base_url: str, calls: int, concurrency: int) -> None:
    asyncio.run(ours(base_url, 10, concurrency))
    profiler = cProfile.Profile()
    profiler.runcall(asyncio.run, ours(base_url, calls, concurrency))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
