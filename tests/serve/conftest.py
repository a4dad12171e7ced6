"""A small bundle, a store beside it, and a client of an app in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metakg.engine import fit
from metakg.serve.app import create_app
from metakg.serve.auth import Keys
from metakg.serve.limits import Limits
from metakg.serve.server import Settings, service_for
from metakg.serve.service import Service
from metakg.store import Store
from metakg.testing import toy_view

HOME = "http://127.0.0.1"


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> Path:
    """A folder with two bundles of the toy bookshop."""
    folder = tmp_path_factory.mktemp("bundles")
    fit("blend", toy_view()).save(folder / "one")
    fit("kg-knn", toy_view()).save(folder / "two")
    return folder


@pytest.fixture(name="serving", scope="session")
def _serving_fixture():
    return serving


@pytest.fixture(name="settled", scope="session")
def _settled_fixture():
    return settled


@contextmanager
def serving(bundle: Path, store_url: str, keys: Keys | None = None, **more) -> Iterator[tuple[TestClient, Service]]:
    """Yield a client of a service that is ready."""
    limits = more.pop("limits", Limits())
    store = Store(store_url)
    service = service_for(Settings(bundle, store_url, limits=limits, bundles=bundle.parent, **more), store)
    service.live.start(bundle)
    try:
        with TestClient(create_app(service, keys or Keys(())), base_url=HOME, raise_server_exceptions=False) as client:
            yield client, service
    finally:
        service.writer.stop()
        service.live.stop()
        service.stop()
        store.close()


@pytest.fixture
def client(bundles, tmp_path) -> Iterator[TestClient]:
    """A client of the toy bookshop, without keys."""
    (tmp_path / "backups").mkdir()
    with serving(bundles / "one", str(tmp_path / "store.sqlite"), backups=tmp_path / "backups") as (found, _):
        yield found


def settled(client: TestClient) -> dict:
    """Wait until everything accepted is worked in; return the status."""
    for _ in range(400):
        status = client.get("/api/status").json()
        if not status["store"]["behind"]:
            return status
        time.sleep(0.02)
    raise AssertionError(f"not settled: {status}")
