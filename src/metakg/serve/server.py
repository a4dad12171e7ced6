"""Sockets, slow clients, starting and stopping.

The socket listens at once and answers 503 until the bundle is loaded, so that whoever watches sees a start and not a gap. On
SIGTERM or SIGINT nothing new is taken, what has begun is finished, what waits for the disk is written.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from asyncio.events import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from metakg.bundle import check_manifest
from metakg.errors import ConfigError
from metakg.serve.app import create_app
from metakg.serve.auth import Keys, is_loopback
from metakg.serve.limits import Limits
from metakg.serve.live import Live
from metakg.serve.metrics import Metrics, memory_bytes
from metakg.serve.service import Service
from metakg.store import Store, Writer

LOG = logging.getLogger("metakg.serve")
_HEADERS = 100
_COLLECT = (2_000, 10, 500)
"""When the collector looks at new objects, at those that stayed, and at all: after so many allocations, then runs."""


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        bundle: folder to answer from.
        store: path or address.
        host, port: where to listen; port 0 takes a free one.
        keys: who may come; without any, only this machine may.
        limits: how much, how often, how long.
        bundles: folder that other bundles may be taken from.
        backups: folder for backups.
        grace_s: longest time to finish what has begun when told to stop.
        certificate, certificate_key: files for TLS.
    """

    bundle: Path
    store: str
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Keys = field(default_factory=lambda: Keys(()))
    limits: Limits = field(default_factory=Limits)
    bundles: Path | None = None
    backups: Path | None = None
    grace_s: int = 30
    certificate: Path | None = None
    certificate_key: Path | None = None

    def check(self) -> None:
        """Refuse what would be unsafe or cannot work.

        Raises:
            ConfigError: others could reach it and there are no keys, or a folder is missing.
        """
        if not self.keys and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host}",
                "an address that others can reach, and no keys",
                expected="keys (--keys FILE, or METAKG_KEYS)",
                fix="Make some with `metakg keys new`, or listen on 127.0.0.1.",
            )
        for option, folder in (("--bundles", self.bundles), ("--backups", self.backups)):
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"{option} {folder}", "no such folder", expected="a folder", fix="Make it first.")


def service_for(settings: Settings, store: Store) -> Service:
    """Return what the routes share; its bundle is not loaded yet (see `Live.start`)."""
    live = Live(store)
    shared: list[Service] = []

    def gauges() -> dict[str, tuple[str, float]]:
        service, state = shared[0], live.state
        behind, behind_s = live.behind
        return {
            "ready": ("Whether answers are given.", float(state is not None and not service.stopping)),
            "store_reachable": ("Whether the store answered when last asked.", float(live.reachable)),
            "event_number": ("Number of the last event applied.", float(0 if state is None else state.seq)),
            "changes_behind": ("Changes accepted and not worked in yet.", float(behind)),
            "behind_seconds": ("How long the oldest of them has waited.", behind_s),
            "changes_left_out": ("Changes that could not be applied.", float(live.refused)),
            "erased_in_log": ("Whether SQLite's log still holds bytes of what was erased.", float(store.untidy)),
            "events_unwritten": ("Events that wait for the disk.", float(service.writer.waiting)),
            "engine_calls": ("Engine calls that run or wait.", float(service.pool.taken)),
            "kept_answers_used": ("Answers that were kept from an earlier request.", float(service.kept.hits)),
            "memory_bytes": ("Memory of the process.", float(memory_bytes())),
        }

    service = Service(
        live, store, Writer(store, live.committed), settings.limits, Metrics(gauges), settings.bundles, settings.backups
    )
    shared.append(service)
    return service


def run(settings: Settings, *, listening: Callable[[str], None] = lambda _: None) -> None:
    """Serve until told to stop.

    Args:
        settings: how.
        listening: called with the address once the socket listens.

    Raises:
        ConfigError: the settings are unsafe or wrong, or the address is taken.
        StoreError: the store cannot be opened.
        CheckpointError, DataError: the bundle cannot be opened.
    """
    import torch

    settings.check()
    check_manifest(settings.bundle)  # a folder that is no bundle is refused before anybody is told of an address
    # One request uses one core, and the others are left to the event loop and to the writer. A second engine thread costs a
    # fifth more processor time for the same answers (`benchmarks/serving_load.py BUNDLE --threads 2`, "cores").
    torch.set_num_threads(1)
    # The event loop must not wait five milliseconds for each of them whenever it has something to do.
    sys.setswitchinterval(0.001)
    listener = _socket(settings)
    try:
        store = Store(settings.store)
        service = service_for(settings, store)
        app = create_app(service, settings.keys)
        config = uvicorn.Config(
            app,
            http=guarded(settings.limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=settings.grace_s,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.certificate_key,
        )
        server = _Server(config, service)
        failures: list[BaseException] = []
        loading = threading.Thread(target=_load, args=(service, settings.bundle, server, failures), daemon=True)
        loading.start()
        # A signal may come before uvicorn looks for any; and it repeats the one that stopped it, which would end the process
        # before the rest is put away.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.stop_soon)
        host, port = listener.getsockname()[:2]
        listening(f"{'https' if settings.certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}")
        try:
            server.run(sockets=[listener])
        finally:
            loading.join(settings.grace_s)
            service.writer.stop()
            service.live.stop()
            service.stop()
            store.close()
        if failures:
            raise failures[0]
        LOG.info("stopped")
    finally:
        listener.close()


def _load(service: Service, bundle: Path, server: _Server, failures: list[BaseException]) -> None:
    """Load the first bundle; stop the server if it does not open."""
    try:
        service.live.start(bundle)
    except BaseException as err:  # noqa: BLE001 - raised again by `run`, in the main thread
        failures.append(err)
        server.should_exit = True
        return
    # What was loaded stays: the collector need not look through it again, which would hold everybody up for a moment. What
    # clicks leave behind stays too, and grows; it is gone through once in some ten thousand requests, not in hundreds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    state = service.live.state
    assert state is not None
    LOG.info("ready", extra={"model": state.engine.model, "version": state.version})


class _Server(uvicorn.Server):
    """A server that says it is stopping before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def stop_soon(self, *_: Any) -> None:
        """Take a signal that uvicorn does not see: begin no more, or end at once."""
        self._service.stopping = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take a signal: not ready any more."""
        self._service.stopping = True
        super().handle_exit(sig, frame)


def _socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host.strip("[]"), settings.port), family=family, backlog=2048)
    except OSError as err:
        raise ConfigError(
            f"--host {settings.host} --port {settings.port}",
            str(err),
            expected="an address that is free",
            fix="Name another port; 0 takes a free one.",
        ) from err


def guarded(limits: Limits) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with bounds on connections, on the size of a head, and on the time it takes to come.

    uvicorn itself waits for ever for a head that comes byte by byte, and lets it grow without end.
    """

    class Guarded(HttpToolsProtocol):
        """One connection."""

        _timer: TimerHandle | None = None
        _in_head = True
        _head = 0  # bytes of a head whose end has not come
        _ended = False  # whether a request ended in the bytes at hand

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._turn_away(b"503 Service Unavailable", b"retry-after: 1\r\n")
            else:
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._rest()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._in_head:
                self._watch()
            self._ended = False
            super().data_received(data)
            if self._in_head and not self._ended:  # else all of it, or what came before the next head, was a body
                self._head += len(data)
                if self._head > limits.head_bytes:
                    self._turn_away(b"431 Request Header Fields Too Large")

        def on_header(self, name: bytes, value: bytes) -> None:
            super().on_header(name, value)
            if len(self.headers) > _HEADERS:
                raise ValueError("too many headers")  # the parser answers 400

        def on_headers_complete(self) -> None:
            self._in_head, self._head = False, 0
            self._rest()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head = self._ended = True
            super().on_message_complete()

        def _watch(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(limits.body_s, self._too_slow)

        def _rest(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            self._turn_away(b"408 Request Timeout")

        def _turn_away(self, status: bytes, more: bytes = b"") -> None:
            if not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + more + b"content-length: 0\r\nconnection: close\r\n\r\n")
                self.transport.close()

    return Guarded
