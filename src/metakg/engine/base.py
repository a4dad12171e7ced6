"""The base that many engines share: what follows from the recommender alone, and its names where they change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from metakg.data import IdMap, Vocabulary
from metakg.engine.answers import LearntAnswers, ProfileAnswers, answers_of
from metakg.engine.results import Kind
from metakg.engine.search import SearchIndex
from metakg.models.base import Recommender
from metakg.types import Rows

FORGOTTEN = "\x00forgotten:"
"""How the row of a user begins whose id was erased; rows never move, so an empty one stays. No id from outside begins so."""


class Base:
    """What is worked out of a base recommender once and shared by all engines over it.

    Args:
        recommender: the base.
        previous: that of an earlier base, whose search indexes are taken over.
    """

    def __init__(self, recommender: Recommender, previous: Base | None = None) -> None:
        self.recommender = recommender
        self.answers: ProfileAnswers | LearntAnswers = answers_of(recommender)
        self._earlier: dict[Kind, SearchIndex] = {} if previous is None else {**previous._earlier, **previous._indexes}
        self._indexes: dict[Kind, SearchIndex] = {}
        self._popularity: dict[Kind, np.ndarray] = {}

    def ids(self, kind: Kind) -> IdMap:
        """Return the ids of a kind."""
        v = self.recommender.view.vocabulary
        return {"item": v.items, "entity": v.entities, "relation": v.relations, "user": v.users}[kind]

    def index(self, kind: Kind) -> SearchIndex:
        """Return the search index of a kind, built when it is first asked for."""
        if kind not in self._indexes:
            ids, earlier = self.ids(kind), self._earlier.get(kind)
            self._indexes[kind] = earlier if earlier is not None and earlier.ids is ids else SearchIndex(ids, earlier)
        return self._indexes[kind]

    def popularity(self, kind: Kind) -> np.ndarray:
        """Return what comes first in a search: clicks of items and users, facts of entities and relations."""
        if kind not in self._popularity:
            view = self.recommender.view
            facts, about = view.graph.entity, view.graph.user
            if kind == "item":
                counts = view.popularity
            elif kind == "user":
                counts = np.diff(view.history.indptr)
            elif kind == "entity":
                ends = np.concatenate([facts.heads, facts.tails, about.tails])
                counts = np.bincount(ends, minlength=view.n_entities)
            else:
                counts = np.bincount(np.concatenate([facts.relations, about.relations]), minlength=view.n_relations)
            self._popularity[kind] = counts
        return self._popularity[kind]

    @cached_property
    def n_forgotten(self) -> int:
        """Number of rows that are left of forgotten users."""
        import pyarrow.compute as pc

        return int(pc.sum(pc.starts_with(self.recommender.view.vocabulary.users.array, FORGOTTEN)).as_py() or 0)


def relabelled(ids: IdMap, labels: Mapping[str, str]) -> IdMap:
    """Return the ids with some labels changed; the same object if nothing is."""
    changed = {row: label for name, label in labels.items() if (row := ids.row(name)) is not None and ids.label(row) != label}
    if not changed:
        return ids
    texts: list[str | None] = [None] * len(ids) if ids.labels is None else ids.labels.to_pylist()
    for row, label in changed.items():
        texts[row] = label
    return IdMap(ids.array, texts, kind=ids.kind)


def without_users(vocabulary: Vocabulary, rows: Rows) -> Vocabulary:
    """Return a vocabulary in which these users' rows are nobody's: their ids and labels are gone."""
    users = vocabulary.users
    names, labels = users.array.to_pylist(), None if users.labels is None else users.labels.to_pylist()
    for row in rows.tolist():
        number = row
        while (name := f"{FORGOTTEN}{number}") in users:
            number += len(users)
        names[row] = name
        if labels is not None:
            labels[row] = None
    return Vocabulary(IdMap(names, labels, kind="user"), vocabulary.items, vocabulary.entities, vocabulary.relations)
