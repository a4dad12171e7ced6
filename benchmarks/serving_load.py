"""How much one server bears: recommendations, adaptations, both at once, and 100,000 requests while its memory is watched.

    python benchmarks/serving_load.py BUNDLE [--seconds 15] [--requests 100000] [--threads 1] [--markdown PAGE]
    python benchmarks/serving_load.py BUNDLE --servers 2 [--requests 0] ...

The server is `metakg serve` in a process of its own, on loopback, with its SQLite store on the disk that --folder names; every
adaptation is one click of one user, acknowledged when it is on disk and in the next answer. The load comes from this process.
With --servers there are several such processes over one PostgreSQL, which this command starts, and each connection is to the
next of them, as behind a proxy.

- alone: each kind of request by itself, as fast as --clients connections that wait for their answers go;
- together: recommendations and adaptations arrive at a fixed rate whether or not earlier ones are answered; the time of each
  counts from when it was due, so a server that stalls cannot hide it. Once as the server starts, and once behind all that,
  when tens of thousands of adaptations have given most users clicks, which makes their answers dearer;
- memory: mixed requests, as fast as they go; the server's memory is read on the way.

`health` is the cheapest request there is: the ratios to it hold on a busy machine too, the other figures on a quiet one only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from metakg.engine import load
from metakg.files import write_between
from metakg.testing.postgres import Postgres
from metakg.testing.server import Running

BEGIN, END = "<!-- written by serving_load: begin -->", "<!-- written by serving_load: end -->"
Make = Callable[[], bytes]


@dataclass
class Seen:
    """What one run of requests came to.

    Attributes:
        name: what was asked.
        ms: milliseconds of each.
        wrong: answers other than 200.
        seconds: of the run.
        cpu_s: processor time of the server.
        before: adaptations before it.
    """

    name: str
    ms: list[float] = field(default_factory=list)
    wrong: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    before: int = 0

    def percentile(self, share: float) -> float:
        """Return the milliseconds within which this share was answered."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.ms) / self.seconds


class Servers:
    """One server, or several over one store.

    Args:
        all: the processes.
    """

    def __init__(self, all: Sequence[Running]) -> None:  # noqa: A002
        self.all = all
        self._next = itertools.cycle(all)

    def pick(self) -> Running:
        """Return the one that the next connection goes to."""
        return next(self._next)

    def cpu_s(self) -> float:
        """Return the processor time they have used."""
        return sum(server.cpu_s() for server in self.all)

    def memory_bytes(self) -> int:
        """Return their memory."""
        return sum(server.memory_bytes() for server in self.all)


class Connection:
    """One connection that is kept open; one request at a time."""

    def __init__(self, servers: Servers) -> None:
        self._server = servers.pick()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of its answer."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(self._server.host, self._server.port)
        assert self._reader is not None
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await self._reader.readexactly(length)
        return int(head[9:12])

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()


async def closed(
    server: Servers, name: str, make: Make, clients: int, *, seconds: float = 1e9, requests: int = 1 << 60
) -> Seen:
    """Ask as fast as so many clients go that wait for their answers."""
    seen = Seen(name)
    begin, cpu = time.perf_counter(), server.cpu_s()
    left = [requests]

    async def one() -> None:
        connection = Connection(server)
        while left[0] > 0 and time.perf_counter() - begin < seconds:
            left[0] -= 1
            start = time.perf_counter()
            status = await connection.ask(make())
            seen.ms.append(1000 * (time.perf_counter() - start))
            seen.wrong += status != 200
        connection.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    seen.seconds, seen.cpu_s = time.perf_counter() - begin, server.cpu_s() - cpu
    return seen


async def paced(server: Servers, kinds: dict[str, tuple[Make, float]], seconds: float, clients: int) -> list[Seen]:
    """Ask each kind at its own rate; each one's time counts from when it was due."""
    rng = random.Random(7)
    seen = {name: Seen(name) for name in kinds}
    due: list[tuple[float, str]] = []
    for name, (_, rate) in kinds.items():
        at = 0.0
        while (at := at + rng.expovariate(rate)) < seconds:
            due.append((at, name))
    due.sort()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(clients):
        free.put_nowait(Connection(server))
    begin, cpu = time.perf_counter(), server.cpu_s()

    async def one(at: float, name: str) -> None:
        connection = await free.get()
        status = await connection.ask(kinds[name][0]())
        seen[name].ms.append(1000 * (time.perf_counter() - begin - at))
        seen[name].wrong += status != 200
        free.put_nowait(connection)

    tasks = []
    for at, name in due:
        wait = at - (time.perf_counter() - begin)
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(at, name)))
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait().close()
    for entry in seen.values():
        entry.seconds, entry.cpu_s = time.perf_counter() - begin, server.cpu_s() - cpu
    return list(seen.values())


def makers(users: list[str], clicked: list[str], items: list[str]) -> dict[str, Make]:
    """Return what makes each kind of request: known users at random, half the clicks of new ones.

    Args:
        users: all users of the bundle.
        clicked: those of them who clicked something in training: the popular items, which the others get, cost less.
        items: all items.
    """
    from urllib.parse import quote

    rng = random.Random(1)

    def get(path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()

    def post(path: str, body: object) -> bytes:
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    def click() -> bytes:
        user = rng.choice(users) if rng.random() < 0.5 else f"new-{rng.randrange(5_000)}"
        return post("/api/feedback", {"user": user, "item": rng.choice(items), "kind": "like"})

    return {
        "health": lambda: get("/api/health/live"),
        "recommend": lambda: get(f"/api/recommend/{quote(rng.choice(users), safe='')}?n=10"),
        "recommend, of those who have clicked": lambda: get(f"/api/recommend/{quote(rng.choice(clicked), safe='')}?n=10"),
        "session (5 clicks)": lambda: post("/api/session/recommend", {"liked": rng.sample(items, min(5, len(items))), "n": 10}),
        "adapt": click,
    }


async def measure(
    server: Servers, make: dict[str, Make], arguments: argparse.Namespace
) -> tuple[list[Seen], list[Seen], list[tuple[int, int]]]:
    """Return what was seen alone, together, and (requests so far, bytes) of the memory."""
    await closed(server, "warm-up", make["recommend"], arguments.clients, requests=300)
    rates = {"recommend": (make["recommend"], arguments.recommend_rate), "adapt": (make["adapt"], arguments.adapt_rate)}
    together = await paced(server, rates, arguments.seconds, 64)
    alone = [await closed(server, name, maker, arguments.clients, seconds=arguments.seconds) for name, maker in make.items()]
    adapted = sum(len(seen.ms) for seen in (*together, *alone) if seen.name == "adapt")
    again = await paced(server, rates, arguments.seconds, 64)
    for seen in again:
        seen.before = adapted
    together += again
    rng = random.Random(3)
    mixed: Make = lambda: make[rng.choice(("recommend", "recommend", "session (5 clicks)", "adapt"))]()  # noqa: E731
    memory, done = [(0, server.memory_bytes())], 0
    while done < arguments.requests:
        step = min(arguments.requests // 10 or 1, arguments.requests - done)
        seen = await closed(server, "mixed", mixed, arguments.clients, requests=step)
        if seen.wrong:
            raise SystemExit(f"{seen.wrong} answers other than 200 while the memory was watched")
        done += step
        memory.append((done, server.memory_bytes()))
    return alone, together, memory


def report(bundle: str, stored: str, alone: list[Seen], together: list[Seen], memory: list[tuple[int, int]]) -> str:
    """Return the figures as Markdown."""
    health = next(seen for seen in alone if seen.name == "health")
    unit = health.cpu_s / len(health.ms)
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {bundle}, {os.cpu_count()} cores shared by server and load; "
        f"every click is on disk ({stored}) before its answer.",
        "",
        "| alone | answers/s | p50 ms | p99 ms | processor ms each | against `health` | not 200 |",
        "|---|---|---|---|---|---|---|",
    ]
    for seen in alone:
        cpu = seen.cpu_s / len(seen.ms)
        lines.append(
            f"| {seen.name} | {seen.rate:,.0f} | {seen.percentile(0.5):.1f} | {seen.percentile(0.99):.1f} | {1000 * cpu:.2f} "
            f"| {cpu / unit:.1f} | {seen.wrong} |"
        )
    lines += [
        "",
        "| at a fixed rate | adaptations before | asked | answers/s | p50 ms | p99 ms | longest ms | not 200 | cores |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for seen in together:
        lines.append(
            f"| {seen.name} | {seen.before:,} | {len(seen.ms):,} | {seen.rate:,.0f} | {seen.percentile(0.5):.1f} "
            f"| {seen.percentile(0.99):.1f} | {max(seen.ms):.0f} | {seen.wrong} | {seen.cpu_s / seen.seconds:.2f} |"
        )
    lines += ["", "Cores: what the server used while both came together.", ""]
    if len(memory) == 1:
        return "\n".join(lines).rstrip()
    lines += ["| requests so far | memory MB |", "|---|---|", *(f"| {done:,} | {size / 1e6:,.0f} |" for done, size in memory)]
    late = [size for done, size in memory if done >= memory[-1][0] / 2]
    growth = (late[-1] - late[0]) / 1e6
    lines += [
        "",
        f"Second half of the {memory[-1][0]:,} requests: {growth:+.1f} MB (median {statistics.median(late) / 1e6:,.0f} MB).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run all of it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run")
    parser.add_argument("--requests", type=int, default=100_000, help="while the memory is watched")
    parser.add_argument("--clients", type=int, default=8, help="connections that wait for their answers")
    parser.add_argument("--threads", type=int, default=1, help="of the server's engine")
    parser.add_argument("--servers", type=int, default=1, help="more than one: over one PostgreSQL")
    parser.add_argument("--recommend-rate", type=float, default=300.0)
    parser.add_argument("--adapt-rate", type=float, default=100.0)
    parser.add_argument(
        "--folder", type=Path, help="where the store lies while this runs; default: the system's temporary folder"
    )
    parser.add_argument("--markdown", type=Path, help="write the figures into this page, between its markers")
    arguments = parser.parse_args()
    engine = load(arguments.bundle)
    vocabulary = engine.recommender.view.vocabulary
    users, items = vocabulary.users.array.to_pylist(), vocabulary.items.array.to_pylist()
    lengths = engine.recommender.view.interactions.csr(len(users), len(items)).indptr
    clicked = [user for row, user in enumerate(users) if lengths[row + 1] > lengths[row]]
    share = f"{len(clicked) / len(users):.0%} of them with clicks in training"
    name = f"`{engine.model}` on {len(users):,} users ({share}) and {len(items):,} items"
    del engine, vocabulary
    gc.collect()
    gc.freeze()  # or this process would stop for a tenth of a second, and the server be blamed for it
    with ExitStack() as stack:
        if arguments.servers > 1:
            store, stored = stack.enter_context(Postgres.start()).new_database(), f"{arguments.servers} servers, PostgreSQL"
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder))
            store, stored = str(Path(folder) / "store.sqlite"), "SQLite"
        words = ("--store", store, "--rate", 0, "--threads", arguments.threads, "--log-level", "warning")
        servers = [stack.enter_context(Running(arguments.bundle, *words)) for _ in range(arguments.servers)]
        found = asyncio.run(measure(Servers(servers), makers(users, clicked, items), arguments))
        for server in servers:
            if server.stop() != 0:
                raise SystemExit(f"the server did not stop cleanly: {server.log()[-2000:]}")
    text = report(name, stored, *found)
    print(text)
    if arguments.markdown:
        write_between(arguments.markdown, BEGIN, END, text)


if __name__ == "__main__":
    main()
