"""The server as people run it: a process, sockets, signals; slow, rude and vanishing clients."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from metakg.errors import CheckpointError, ConfigError, StoreError
from metakg.serve.server import Settings, run
from metakg.store import Store
from metakg.testing.server import Running

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    """One server for all tests that leave it alive."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    with Running(bundles / "one", "--store", store, "--bundles", bundles, "--rate", 0) as running:
        yield running


def raw(server: Running, data: bytes, *, wait_s: float = 5.0) -> bytes:
    """Send bytes as they are; return what comes back until the other side hangs up or says nothing more."""
    with closing(socket.create_connection((server.host, server.port))) as sock:
        sock.settimeout(wait_s)
        found = b""
        try:
            sock.sendall(data)
            while piece := sock.recv(65536):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
        return found


def head(method: str, path: str, **headers: object) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def test_bytes_that_are_no_http(server) -> None:
    for data in (b"\x00" * 100, b"\x16\x03\x01" + b"x" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000):
        answer = raw(server, data, wait_s=1.0)
        assert b" 500 " not in answer
        assert b"Traceback" not in answer
    assert server.ask("GET", "/api/health/ready")[0] == 200


def test_a_head_without_end_is_cut_off(server) -> None:
    assert b" 431 " in raw(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000)
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(500))
    assert raw(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + many + b"\r\n").split(b"\r\n")[0].split()[1] in (
        b"400",
        b"431",
    )
    assert raw(server, head("GET", "/" + "a" * 100_000)).split(b"\r\n")[0].split()[1] in (b"400", b"404", b"431")


@pytest.mark.parametrize("size", [20_000, 40_000, 200_000, 1_000_000])
def test_a_large_body_is_no_head(server, size: int) -> None:
    body = (b'{"liked":["i03"],"n":3' + b" " * (size - 23)) + b"}"
    request = head("POST", "/api/session/recommend", Content_Type="application/json", Content_Length=len(body))
    answer = raw(server, request + body + head("GET", "/api/health/ready", Connection="close"))
    assert answer.count(b"HTTP/1.1 200 ") == 2, "one answer to each of two requests on a connection"
    assert b'"items":[' in answer


def test_headers_cannot_be_injected(server) -> None:
    answer = raw(server, head("GET", "/api/recommend/a%0d%0aX-Evil:%201", Connection="close"))
    assert b"\r\nx-evil" not in answer.lower()
    assert answer.startswith(b"HTTP/1.1 422 ")
    twice = head("POST", "/api/feedback", Content_Type="application/json", Content_Length=2, content_length=50) + b"{}"
    assert raw(server, twice).startswith(b"HTTP/1.1 400 ")
    both = head("POST", "/api/feedback", Content_Type="application/json", Content_Length=2, Transfer_Encoding="chunked")
    assert raw(server, both + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_slow_clients_are_cut_off_and_hold_nobody_up(server) -> None:
    begin = time.monotonic()
    slow = [socket.create_connection((server.host, server.port)) for _ in range(20)]
    for number, sock in enumerate(slow):
        if number % 3 == 1:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.")
        if number % 3 == 2:
            sock.sendall(head("POST", "/api/feedback", Content_Type="application/json", Content_Length=100) + b"[")
    assert server.ask("GET", "/api/recommend/ann", timeout_s=5)[0] == 200  # they do not stand in the way
    found = []
    for sock in slow:
        sock.settimeout(60)
        found.append(sock.recv(65536))
        sock.close()
    assert 8 < time.monotonic() - begin < 60
    assert all(b" 408 " in answer for answer in found)


def test_clients_that_vanish_leave_nothing_behind(server) -> None:
    before = server.ask("GET", "/api/status")[1]["requests"]["by_status"].get("5xx", 0)  # not ready yet, at the start
    event = json.dumps([{"user": "gone", "item": "i03", "kind": "like"}]).encode()
    whole = head("POST", "/api/feedback", Content_Type="application/json", Content_Length=len(event)) + event
    for cut in (10, len(whole) - len(event), len(whole) - 5, len(whole)):
        for _ in range(5):
            sock = socket.create_connection((server.host, server.port))
            sock.sendall(whole[:cut])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # gone with a reset
            sock.close()
    deadline = time.monotonic() + 10
    status = server.ask("GET", "/api/status")[1]
    while (status["requests"]["waiting"] > 1 or status["store"]["unwritten"]) and time.monotonic() < deadline:
        time.sleep(0.05)
        status = server.ask("GET", "/api/status")[1]
    assert (status["requests"]["waiting"], status["store"]["unwritten"]) == (1, 0)
    assert status["requests"]["by_status"].get("5xx", 0) == before


def test_many_requests_in_one_breath_are_answered_in_turn(server) -> None:
    paths = ["/api/health/live", "/api/recommend/ann?n=1", "/api/nothing"] * 10
    data = b"".join(head("GET", path, **({"Connection": "close"} if place == 29 else {})) for place, path in enumerate(paths))
    answer = raw(server, data)
    statuses = [piece[:3] for piece in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"404"] * 10


def test_swaps_under_load_lose_no_request(server) -> None:
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(server.ask("GET", "/api/recommend/ann")[0])

    threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    models = []
    try:
        for name in ("two", "one", "nothing", "two", "one"):
            server.ask("POST", "/api/admin/swap", {"bundle": name})
            models.append(server.ask("GET", "/api/status")[1]["model"])
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert models == ["kg-knn", "blend", "blend", "kg-knn", "blend"]
    assert set(seen) == {200}
    assert len(seen) > 10


def test_logs_are_lines_of_json_without_secrets(server) -> None:
    server.ask("GET", "/api/recommend/secret-person")
    lines = server.log().splitlines()
    assert any('"status"' in line for line in lines), "a line for each request"
    for line in lines:
        entry = json.loads(line)
        assert {"time", "level", "logger", "message"} <= entry.keys()
        assert "secret-person" not in line


def ask_until_refused(server: Running) -> None:
    for _ in range(200):  # until it has heard that it is to stop
        server.ask("GET", "/api/health/live", timeout_s=3)
        time.sleep(0.05)


def test_a_folder_that_is_no_bundle_is_refused_before_anything_listens(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file; expected a bundle manifest. Check the path"):
        run(Settings(bundle=tmp_path, store=str(tmp_path / "store.sqlite"), port=0), listening=lambda _: pytest.fail("listens"))
    assert not (tmp_path / "store.sqlite").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_as_soon_as_the_address_is_told_ends_it(bundles, number) -> None:
    with Running(bundles / "one", ready=False) as server:
        server.process.send_signal(number)
        assert server.process.wait(30) == 0


def test_what_has_begun_is_finished_when_told_to_stop(bundles, tmp_path) -> None:
    store = tmp_path / "store.sqlite"
    with Running(bundles / "one", "--store", store) as server:
        event = json.dumps([{"user": "last", "item": "i03", "kind": "like"}]).encode()
        whole = head("POST", "/api/feedback", Content_Type="application/json", Content_Length=len(event)) + event
        with closing(socket.create_connection((server.host, server.port))) as sock:
            sock.sendall(whole[:-3])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(OSError, match=r"refused|reset|closed connection"):
                ask_until_refused(server)
            sock.sendall(whole[-3:])
            sock.settimeout(10)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert server.process.wait(20) == 0
        assert '"message": "stopped"' in server.log()
    opened = Store(str(store))
    assert [event.user for event in opened.read()] == ["last"]
    opened.close()


def test_two_processes_on_one_database_come_to_the_same_answers(bundles, postgres) -> None:
    words = ("--store", postgres.new_database(), "--rate", 0)
    with Running(bundles / "one", *words, ready=False) as first, Running(bundles / "one", *words) as second:
        first.wait_ready()
        event = {"user": "new", "item": "i03", "kind": "like"}
        key = {"Idempotency-Key": "k"}
        assert first.ask("POST", "/api/feedback", event, headers=key)[1]["accepted"] == 1
        assert second.ask("POST", "/api/feedback", event, headers=key) == (200, {"accepted": 1, "duplicates": 0})
        second.ask("PUT", "/api/items/n1", {"label": "New", "facts": [{"relation": "part_of", "entity": "e5"}]})
        end = time.monotonic() + 30
        answers = [{}, {}]
        while time.monotonic() < end and not (answers[0] == answers[1] and "n1" in str(answers[0])):
            time.sleep(0.1)
            answers = [server.ask("GET", "/api/recommend/new?n=20")[1] for server in (first, second)]
        assert answers[0] == answers[1]
        assert answers[0]["way"] == "adapted"
        assert first.ask("GET", "/api/status")[1]["store"]["events"] == 2


def start(*words: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "metakg.cli.main", "serve", *(str(word) for word in words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **(environment or {})}
    )


def test_what_cannot_be_served_ends_with_one_line(bundles, tmp_path) -> None:
    for words, found in (
        ([tmp_path], "expected a bundle manifest"),
        ([bundles / "one", "--host", "0.0.0.0"], "and no keys; expected keys"),
    ):
        done = start(*words, "--port", 0, "--store", tmp_path / "s")
        assert done.returncode == 2, done.stderr
        assert found in done.stderr.splitlines()[-1], done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_missing_or_taken_is_said_before_anything_is_loaded(bundles, tmp_path) -> None:
    (tmp_path / "text").write_text("x" * 5000)
    taken = socket.create_server(("127.0.0.1", 0))
    with closing(taken), pytest.raises(ConfigError, match=r"in use.*Name another port"):
        run(Settings(bundles / "one", str(tmp_path / "s"), port=taken.getsockname()[1]))
    with pytest.raises(StoreError, match="not a database"):
        run(Settings(bundles / "one", str(tmp_path / "text"), port=0))
    with pytest.raises(ConfigError, match=r"--backups .*no such folder"):
        run(Settings(bundles / "one", str(tmp_path / "s"), port=0, backups=tmp_path / "none"))


def faults(*words: object) -> str:
    command = [sys.executable, ROOT / "benchmarks" / "serving_faults.py", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(database, request) -> None:
    if database == "postgresql":
        request.getfixturevalue("postgres")  # skips where there is none
    text = faults("--rounds", 3, "--only", f"kill-{database}")
    assert "| 3 |" in text
    assert "| 0 | 0 | same answers" in text


def test_the_database_going_away_and_a_full_disk_lose_nothing(request) -> None:
    request.getfixturevalue("postgres")
    for fault in ("away", "full"):
        assert "| 0 | 0 |" in faults("--rounds", 1, "--others", 1, "--only", fault)


@pytest.mark.slow
def test_damaged_bundles_are_refused_at_the_start_and_at_a_swap() -> None:
    assert "0 answered other than 200, 0 without an answer" in faults("--rounds", 1, "--only", "bundles")


@pytest.mark.slow
def test_load_is_measured(bundles) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "serving_load.py", bundles / "one", "--seconds", "1", "--requests", "500"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| recommend |" in done.stdout
