"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Small tensors gain nothing from many threads, and threads that spin for each other take ten times as long on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from metakg.testing.postgres import Postgres, binaries

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets (`last-fm`, `ml-100k`); METAKG_DATA names another place than the default."""
    folder = Path(os.environ.get("METAKG_DATA", ROOT.parent / "shared" / "datasets"))
    missing = [name for name in ("last-fm", "ml-100k") if not (folder / name).is_dir()]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} in {folder}; set METAKG_DATA to a folder that holds them")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole session; each test makes a database of its own in it."""
    if binaries() is None:
        pytest.skip("no PostgreSQL on this machine; install it (Debian: apt-get install postgresql)")
    with Postgres.start(durable=False) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path) -> str:
    """The address of an empty store, once for each database."""
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    return request.getfixturevalue("postgres").new_database()
