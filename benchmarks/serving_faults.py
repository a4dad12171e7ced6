"""What a server loses when things go wrong: the answer must be nothing, and nothing twice.

    python benchmarks/serving_faults.py [--bundle BUNDLE] [--rounds 200] [--markdown docs/results/serving.md]

- kill: clients write as fast as they can; after a random moment the server is killed (SIGKILL) and started again. Every
  acknowledged event must then be in the store exactly once. What was not acknowledged is sent again under the same key, as
  clients do, and must then be there exactly once too. At the end, answers before one more kill and after it must be equal.
- away: PostgreSQL is killed and started again under the same load. Reading goes on, writing is 503 until it is back.
- full: the store may not grow any more (a limit on the size of files, as a full disk), then it may. As above.
- bundles: damaged in every file, cut short, swapped in under load. Refused, the old one goes on, no request is lost.

Without --bundle a small one is made. Every server is `metakg serve` in a process of its own, on loopback.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metakg.engine import fit, load
from metakg.files import write_between
from metakg.store import Store
from metakg.testing import toy_view
from metakg.testing.postgres import Postgres, binaries
from metakg.testing.server import Running

BEGIN, END = "<!-- written by serving_faults: begin -->", "<!-- written by serving_faults: end -->"
QUIET = ("--log-level", "error", "--rate", 0)
Sent = tuple[str, list[dict[str, str]]]


@dataclass
class Row:
    """What one kind of fault came to."""

    fault: str
    rounds: int = 0
    acknowledged: int = 0
    repeated: int = 0
    lost: int = 0
    twice: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Writers:
    """Clients that write without a pause, and remember what they were promised.

    Attributes:
        server: where to; replaced after a restart.
        prefix: of their users' names.
        acked: events by their key, acknowledged.
        open: requests that were sent and not acknowledged.
    """

    server: Running
    prefix: str
    acked: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    open: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, count: int = 4) -> None:
        """Begin."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after the requests under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def send(self, key: str, events: list[dict[str, str]]) -> bool:
        """Send one request; return whether it was acknowledged."""
        self.open[key] = events
        try:
            status, body = self.server.ask("POST", "/api/feedback", events, headers={"Idempotency-Key": key}, timeout_s=20)
        except OSError:
            return False
        if status == 200:
            if body["accepted"] != len(events):
                raise SystemExit(f"{len(events)} events sent, {body['accepted']} accepted")
            self.acked[key] = self.open.pop(key)
            return True
        self.refused[status] += 1
        return False

    def send_open(self) -> int:
        """Send what was not acknowledged again, under the same keys; return how many requests."""
        waiting = list(self.open.items())
        for key, events in waiting:
            if not self.send(key, events):
                raise SystemExit(
                    f"a server that is back does not take {key} ({dict(self.refused)}): {self.server.log()[-1500:]}"
                )
        return len(waiting)

    def _write(self, number: int) -> None:
        rng = random.Random(f"{self.prefix}/{number}")
        count = 0
        while not self._stop.is_set():
            count += 1
            key = f"{self.prefix}-{number}-{count}"
            events = [
                {"user": f"{key}-{place}", "item": f"i{rng.randrange(12):02d}", "kind": "like"}
                for place in range(rng.randint(1, 5))
            ]
            if not self.send(key, events):
                time.sleep(0.02)


def check(store_url: str, after: int, writers: Writers, row: Row) -> int:
    """Compare a round's promises with the store; return the number of its last event."""
    store = Store(store_url, migrate=False)
    try:
        found = Counter((event.user, event.item) for event in read_all(store, after))
        last = store.last()
    finally:
        store.close()
    promised = [(event["user"], event["item"]) for events in writers.acked.values() for event in events]
    row.acknowledged += len(promised)
    row.lost += sum(found[event] == 0 for event in promised)
    row.twice += sum(count > 1 for count in found.values())
    for key, events in writers.open.items():  # all of a request, or none of it
        there = sum(found[event["user"], event["item"]] for event in events)
        if there not in (0, len(events)):
            row.wrong.append(f"{key}: {there} of {len(events)} events")
    return last


def read_all(store: Store, after: int) -> list[Any]:
    """Return all events behind a number."""
    events: list[Any] = []
    while more := store.read(events[-1].seq if events else after):
        events += more
    return events


def killed(bundle: Path, store_url: str, name: str, rounds: int, say: Callable[[str], None]) -> Row:
    """Kill the server again and again while it is written to."""
    row, rng, last = Row(f"server killed while written to, {name}", rounds), random.Random(5), 0
    server = Running(bundle, "--store", store_url, *QUIET)
    try:
        for number in range(rounds):
            writers = Writers(server, f"k{number}")
            writers.start()
            time.sleep(rng.uniform(0.05, 0.6))
            server.kill()
            writers.stop()
            server.close()
            check(store_url, last, writers, Row("on the way"))  # the store opens, and holds all or nothing of each request
            server = writers.server = Running(bundle, "--store", store_url, *QUIET)
            row.repeated += writers.send_open()
            last = check(store_url, last, writers, row)
            say(f"{row.fault}: round {number + 1}, {row.acknowledged} acknowledged, {row.lost} lost, {row.twice} twice")
        users = [event.user for event in read_all(_opened(store_url), 0)[:: max(1, row.acknowledged // 200)]]
        before = [server.ask("GET", f"/api/recommend/{user}")[1] for user in users]
        server.kill()
        server.close()
        server = Running(bundle, "--store", store_url, *QUIET)
        after = [server.ask("GET", f"/api/recommend/{user}")[1] for user in users]
        if before != after:
            row.wrong.append("other answers after the last start")
        else:
            row.notes.append(f"same answers to {len(users)} users after the last start")
    finally:
        server.close()
    return row


def _opened(store_url: str) -> Store:
    return Store(store_url, migrate=False)


def again(writers: Writers, patience_s: float = 30.0) -> int:
    """Send what is open again until all of it is taken; return how many requests there were."""
    count, end = len(writers.open), time.monotonic() + patience_s
    while writers.open:
        for key, events in list(writers.open.items()):
            writers.send(key, events)
        if time.monotonic() > end:
            raise SystemExit(
                f"the server does not take what it refused ({dict(writers.refused)}): {writers.server.log()[-1500:]}"
            )
        time.sleep(0.1)
    return count


def under_load(row: Row, server: Running, store_url: str, harm: Callable[[Writers], None], say: Callable[[str], None]) -> None:
    """Do harm and mend it while clients write and read; then everything refused is sent again and all promises are checked."""
    last = refused = 0
    for number in range(row.rounds):
        writers = Writers(server, f"h{number}")
        writers.start()
        time.sleep(0.3)
        harm(writers)
        time.sleep(0.3)
        writers.stop()
        if strange := set(writers.refused) - {503}:
            row.wrong.append(f"writing answered {sorted(strange)} meanwhile")
        refused += writers.refused[503]
        row.repeated += again(writers)
        last = check(store_url, last, writers, row)
        say(f"{row.fault}: round {number + 1}, {row.acknowledged} acknowledged, {row.lost} lost, {row.twice} twice")
    row.notes.append(f"{refused} requests answered 503 meanwhile; reading went on")


def read_meanwhile(row: Row, server: Running) -> None:
    """Ask for a recommendation, which must not need the store."""
    status, _ = server.ask("GET", "/api/recommend/ann")
    if status != 200:
        row.wrong.append(f"reading answered {status} meanwhile")


def away(bundle: Path, postgres: Postgres, rounds: int, say: Callable[[str], None]) -> Row:
    """Take the database away under load, and bring it back."""
    row, store_url = Row("PostgreSQL killed and started", rounds), postgres.new_database()
    with Running(bundle, "--store", store_url, *QUIET) as server:

        def harm(_: Writers) -> None:
            postgres.stop(kill=True)
            time.sleep(0.3)
            read_meanwhile(row, server)
            postgres.go()

        under_load(row, server, store_url, harm, say)
    return row


def full(bundle: Path, folder: Path, rounds: int, say: Callable[[str], None]) -> Row:
    """Let the store's files grow no more, then let them."""
    row, store_url = Row("full disk (SQLite)", rounds), str(folder / "full.sqlite")
    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with Running(bundle, "--store", store_url, *QUIET) as server:

        def harm(writers: Writers) -> None:
            size = max(file.stat().st_size for file in folder.glob("full.sqlite*"))
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
            end = time.monotonic() + 20
            while not writers.refused[503] and time.monotonic() < end:
                time.sleep(0.05)
            if not writers.refused[503]:
                row.wrong.append("the disk never got full")
            read_meanwhile(row, server)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, free)

        under_load(row, server, store_url, harm, say)
    return row


def damaged(bundle: Path, folder: Path) -> list[tuple[str, Path]]:
    """Return copies of a bundle, each damaged in its own way."""
    made: list[tuple[str, Path]] = []
    ways: tuple[tuple[str, Callable[[bytes], bytes] | None], ...] = (
        ("cut short", lambda data: data[: len(data) // 2]),
        (
            "a byte changed",
            lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        ),
        ("gone", None),
    )
    for file in sorted(path for path in bundle.rglob("*") if path.is_file()):
        name = str(file.relative_to(bundle))
        for how, change in ways:
            if name == "manifest.json" and how == "a byte changed":
                continue  # it holds the digests of the others; some of its bytes only describe
            copy = folder / f"damaged-{len(made)}"
            shutil.copytree(bundle, copy)
            if change is None:
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(change(file.read_bytes()))
            made.append((f"{name} {how}", copy))
    return made


def bundles(bundle: Path, other: Path, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Damage bundles at the start and at a swap under load; return what happened, as sentences."""
    broken = damaged(bundle, folder)
    started = []
    for what, copy in broken[:: max(1, len(broken) // 4)]:
        with Running(copy, "--store", folder / "start.sqlite", *QUIET, ready=False) as server:
            if server.process.wait(60) != 2 or "Traceback" in server.log():
                raise SystemExit(f"a bundle with {what} at the start: exit {server.process.returncode}, {server.log()[-1500:]}")
            started.append(what)
        say(f"bundle at the start, {what}: refused")
    answered, failed = Counter[int](), 0
    with Running(bundle, "--store", folder / "swap.sqlite", "--bundles", folder, *QUIET) as server:
        stop = threading.Event()

        def read() -> None:
            nonlocal failed
            while not stop.is_set():
                try:
                    answered[server.ask("GET", "/api/recommend/ann")[0]] += 1
                except OSError:
                    failed += 1

        readers = [threading.Thread(target=read) for _ in range(3)]
        for thread in readers:
            thread.start()
        for what, copy in broken:
            status, body = server.ask("POST", "/api/admin/swap", {"bundle": copy.name}, timeout_s=120)
            if status != 422 or body["error"]["code"] != "bundle_refused":
                raise SystemExit(f"a bundle with {what} at a swap: {status} {json.dumps(body)}")
            say(f"bundle at a swap, {what}: refused")
        swaps = 6
        for number in range(swaps):
            status, body = server.ask("POST", "/api/admin/swap", {"bundle": (other, bundle)[number % 2].name}, timeout_s=120)
            if status != 200:
                raise SystemExit(f"a sound bundle at a swap: {status} {json.dumps(body)}")
        stop.set()
        for thread in readers:
            thread.join()
    wrong = sum(count for status, count in answered.items() if status != 200)
    return [
        f"- {len(started)} damaged bundles at the start: each ended with exit code 2 and one line.",
        f"- {len(broken)} damaged bundles (each file cut short, gone, or with one bit changed) at a swap under load: "
        "all refused; the old one went on.",
        f"- {swaps} sound bundles swapped in under load. All in all {sum(answered.values()):,} requests meanwhile: "
        f"{wrong} answered other than 200, {failed} without an answer.",
    ]


def report(rows: list[Row], sentences: list[str]) -> str:
    """Return the figures as Markdown."""
    lines = ["| fault | rounds | events acknowledged | requests sent again | lost | twice | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        notes = "; ".join(dict.fromkeys([*row.wrong, *row.notes]))
        lines.append(
            f"| {row.fault} | {row.rounds} | {row.acknowledged:,} | {row.repeated:,} | {row.lost} | {row.twice} | {notes} |"
        )
    return "\n".join([*lines, "", *sentences])


def main() -> None:
    """Run all of it and print the figures; exit code 1 if anything was lost or came twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="what to serve; default: a small one, made here")
    parser.add_argument("--rounds", type=int, default=200, help="kills for each database")
    parser.add_argument("--others", type=int, help="rounds of the other faults; default: a tenth")
    parser.add_argument("--only", choices=["kill-sqlite", "kill-postgresql", "away", "full", "bundles"], help="one of them")
    parser.add_argument("--folder", type=Path, help="where stores lie while this runs; default: the system's temporary folder")
    parser.add_argument("--markdown", type=Path, help="write the figures into this page, between its markers")
    arguments = parser.parse_args()
    others = arguments.others or max(1, arguments.rounds // 10)
    only, rows, sentences = arguments.only, [], []

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        one, two = folder / "one", folder / "two"
        if arguments.bundle is None:
            fit("blend", toy_view()).save(one)
        else:
            shutil.copytree(arguments.bundle, one)
        load(one).save(two)
        if only in (None, "kill-sqlite"):
            rows.append(killed(one, str(folder / "kill.sqlite"), "SQLite", arguments.rounds, say))
        if only in (None, "kill-postgresql", "away"):
            if binaries() is None:
                say("no PostgreSQL on this machine: left out")
            else:
                with Postgres.start() as postgres:
                    if only != "away":
                        rows.append(killed(one, postgres.new_database(), "PostgreSQL", arguments.rounds, say))
                    if only != "kill-postgresql":
                        rows.append(away(one, postgres, others, say))
        if only in (None, "full"):
            rows.append(full(one, folder, others, say))
        if only in (None, "bundles"):
            sentences = bundles(one, two, folder, say)
    text = report(rows, sentences)
    print(text)
    if arguments.markdown:
        write_between(arguments.markdown, BEGIN, END, text)
    if any(row.lost or row.twice or row.wrong for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
