"""Small files and what came of them, for the tests of the readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from metakg.data import Dataset


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write one file: text as UTF-8, or bytes as they are."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def connection():
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture
def pairs_of() -> Callable[[Dataset], set[tuple[str, str]]]:
    """Return the interactions of a data set as (user id, item id)."""

    def pairs_of(data: Dataset) -> set[tuple[str, str]]:
        v, pairs = data.vocabulary, data.interactions
        return set(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))

    return pairs_of


@pytest.fixture
def facts_of() -> Callable[[Dataset], set[tuple[str, str, str]]]:
    """Return the facts of a data set as (entity id, relation id, entity id)."""

    def facts_of(data: Dataset) -> set[tuple[str, str, str]]:
        v, facts = data.vocabulary, data.graph.entity
        return set(zip(v.entities.ids(facts.heads), v.relations.ids(facts.relations), v.entities.ids(facts.tails), strict=True))

    return facts_of


@pytest.fixture
def about_users() -> Callable[[Dataset], set[tuple[str, str, str]]]:
    """Return the facts about users as (user id, relation id, entity id)."""

    def about_users(data: Dataset) -> set[tuple[str, str, str]]:
        v, facts = data.vocabulary, data.graph.user
        return set(zip(v.users.ids(facts.heads), v.relations.ids(facts.relations), v.entities.ids(facts.tails), strict=True))

    return about_users
