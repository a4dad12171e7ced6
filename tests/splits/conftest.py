"""Small data sets with times, and the real one, for tests of splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Triples, Vocabulary

Click = tuple[str, str, int]


def build(clicks: Iterable[Click], facts: Iterable[tuple[str, str, str]] = (), *, order: int | None = None) -> Dataset:
    """Make a data set of (user, item, time) and (item or entity, relation, entity); `order` shuffles every row number."""
    clicks, facts = list(clicks), list(facts)
    users, items = sorted({u for u, _, _ in clicks}), sorted({i for _, i, _ in clicks})
    nodes = sorted(({h for h, _, _ in facts} | {t for _, _, t in facts}) - set(items) - set(users))
    relations = sorted({r for _, r, _ in facts})
    if order is not None:
        rng = np.random.default_rng(order)
        for names in (users, items, nodes, clicks, facts):
            rng.shuffle(names)
        clicks = [(str(u), str(i), int(t)) for u, i, t in clicks]
        facts = [tuple(map(str, fact)) for fact in facts]
    v = Vocabulary(
        IdMap(users, kind="user"),
        IdMap(items, kind="item"),
        IdMap([*items, *nodes], kind="entity"),
        IdMap(relations, kind="relation"),
    )
    about_users = [fact for fact in facts if fact[0] in set(users)]
    about_items = [fact for fact in facts if fact[0] not in set(users)]
    return Dataset(
        v,
        Interactions(
            v.users.rows([u for u, _, _ in clicks]),
            v.items.rows([i for _, i, _ in clicks]),
            None,
            np.array([t for _, _, t in clicks], np.int64),
        ),
        KnowledgeGraph(_triples(about_items, v.entities, v), _triples(about_users, v.users, v)),
    )


def _triples(facts: list[tuple[str, str, str]], heads: IdMap, v: Vocabulary) -> Triples:
    head, relation, tail = ([fact[k] for fact in facts] for k in range(3))
    return Triples(heads.rows(head), v.relations.rows(relation), v.entities.rows(tail))


def some_clicks(seed: int, *, users: int = 60, items: int = 50, ties: bool = False) -> list[Click]:
    """Clicks of users and items that appear one after the other; times are distinct unless `ties`."""
    rng = np.random.default_rng(seed)
    pairs = [
        (u, i, max(100 * u, 80 * i) + rng.integers(6_000))
        for u in range(users)
        for i in rng.choice(items, size=rng.integers(1, items), replace=False)
    ]
    times = np.array([t for _, _, t in pairs])
    times = times // 2_000 if ties else np.argsort(np.argsort(times, kind="stable"))
    return [(f"u{u}", f"i{i}", int(t)) for (u, i, _), t in zip(pairs, times, strict=True)]


def some_facts(items: int = 50, users: int = 60) -> list[tuple[str, str, str]]:
    """Four items to an artist, three artists to a genre, ten users to a city."""
    artists = [(f"i{i}", "by", f"artist{i // 4}") for i in range(items) if i % 7]
    genres = [(f"artist{a}", "plays", f"genre{a // 3}") for a in range(items // 4)]
    return [*artists, *genres, *((f"u{u}", "lives in", f"city{u // 10}") for u in range(users))]


def ids(pairs: Interactions, dataset: Dataset) -> list[tuple[str, str]]:
    """The pairs in the outside world's ids."""
    v = dataset.vocabulary
    return list(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))


@pytest.fixture(name="build", scope="session")
def _build() -> Callable[..., Dataset]:
    return build


@pytest.fixture(name="some_clicks", scope="session")
def _some_clicks() -> Callable[..., list[Click]]:
    return some_clicks


@pytest.fixture(name="some_facts", scope="session")
def _some_facts() -> Callable[..., list[tuple[str, str, str]]]:
    return some_facts


@pytest.fixture(name="ids", scope="session")
def _ids() -> Callable[[Interactions, Dataset], list[tuple[str, str]]]:
    return ids


@pytest.fixture
def timed() -> Dataset:
    """60 users, 50 items, distinct times."""
    return build(some_clicks(3), some_facts())


@pytest.fixture
def last_fm_folder(real_data: Path) -> Path:
    """The published Last-FM benchmark, or skip."""
    folder = real_data / "last-fm"
    if not (folder / "kg_final.txt").is_file():
        pytest.skip(f"no Last-FM benchmark at {folder}")
    return folder


@pytest.fixture
def last_fm(last_fm_folder: Path) -> Dataset:
    """The published Last-FM graph and id lists, read without the readers that this package's tests do not depend on."""

    def column(name: str) -> list[str]:
        return [line.split()[0] for line in (last_fm_folder / name).read_text().splitlines()[1:]]

    graph = np.array((last_fm_folder / "kg_final.txt").read_bytes().split(), np.int32).reshape(-1, 3)
    v = Vocabulary(
        IdMap(column("user_list.txt"), kind="user"),
        IdMap(column("item_list.txt"), kind="item"),
        IdMap(column("entity_list.txt"), kind="entity"),
        IdMap(column("relation_list.txt"), kind="relation"),
    )
    facts = Triples(*(np.ascontiguousarray(graph[:, k]) for k in range(3)))
    return Dataset(v, Interactions.empty(), KnowledgeGraph(facts, Triples.empty()))
