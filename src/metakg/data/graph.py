"""`KnowledgeGraph`: typed facts about entities (items among them) and, where the data have them, about users."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metakg.errors import DataError
from metakg.types import Mask, Rows, Times


@dataclass(frozen=True, eq=False)
class Triples:
    """Facts `head --relation--> tail` as three (T,) int32 columns."""

    heads: Rows
    relations: Rows
    tails: Rows

    def __post_init__(self) -> None:
        for name in ("heads", "relations", "tails"):
            column: Rows = getattr(self, name)
            if column.ndim != 1 or column.dtype != np.int32:
                raise TypeError(f"triples.{name} must be flat int32 rows, not {column.ndim}-d {column.dtype}")
        if not len(self.heads) == len(self.relations) == len(self.tails):
            raise DataError(
                "triples",
                f"{len(self.heads)} heads, {len(self.relations)} relations, {len(self.tails)} tails",
                expected="three columns of one length",
                fix="Give every fact a head, a relation and a tail.",
            )

    def __len__(self) -> int:
        return len(self.heads)

    def select(self, keep: Mask | Rows) -> Triples:
        """Return the facts that a mask or an index array picks."""
        return Triples(self.heads[keep], self.relations[keep], self.tails[keep])

    def of_head(self, row: int) -> Rows:
        """Return the places of the facts with this head, in order: (n,)."""
        return self._by_head.of(row)

    def of_tail(self, row: int) -> Rows:
        """Return the places of the facts with this tail, in order: (n,)."""
        return self._by_tail.of(row)

    @cached_property
    def _by_head(self) -> _Places:
        return _Places.of_column(self.heads)

    @cached_property
    def _by_tail(self) -> _Places:
        return _Places.of_column(self.tails)

    @staticmethod
    def empty() -> Triples:
        """Return no facts."""
        return Triples(*(np.empty(0, np.int32) for _ in range(3)))

    @staticmethod
    def concat(first: Triples, second: Triples) -> Triples:
        """Return both, one after the other."""
        return Triples(
            np.concatenate([first.heads, second.heads]),
            np.concatenate([first.relations, second.relations]),
            np.concatenate([first.tails, second.tails]),
        )


@dataclass(frozen=True, eq=False)
class _Places:
    """Where each value of a column stands: `order[starts[v] : starts[v + 1]]`."""

    order: Rows
    starts: Times

    @staticmethod
    def of_column(column: Rows) -> _Places:
        order = np.argsort(column, kind="stable").astype(np.int32)
        counts = np.bincount(column) if len(column) else np.empty(0, np.int64)
        return _Places(order, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))

    def of(self, value: int) -> Rows:
        if not 0 <= value < len(self.starts) - 1:
            return self.order[:0]
        return self.order[self.starts[value] : self.starts[value + 1]]


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """All facts, over rows of one vocabulary.

    Attributes:
        entity: facts whose head and tail are entity rows (items are the entities 0..I-1).
        user: facts whose head is a *user* row and whose tail is an entity row (age band, city): the only signal there is
            for a user without a click. Both share the relation rows.
    """

    entity: Triples
    user: Triples

    def check(self, n_users: int, n_entities: int, n_relations: int) -> None:
        """Check every row number against the sizes of the vocabulary.

        Raises:
            DataError: a row lies outside 0..n-1; the message names the column and the range found.
        """
        for table, triples, n_heads in (("triples", self.entity, n_entities), ("user triples", self.user, n_users)):
            for column, rows, size in (
                ("head", triples.heads, n_heads),
                ("relation", triples.relations, n_relations),
                ("tail", triples.tails, n_entities),
            ):
                if len(rows) and (rows.min() < 0 or rows.max() >= size):
                    raise DataError(
                        f"{table}, column {column}",
                        f"rows {rows.min()}..{rows.max()}",
                        expected=f"rows 0..{size - 1}" if size else "no facts, since the vocabulary is empty",
                        fix="Columns may be swapped (the order is head, relation, tail), or the files belong to other data.",
                    )

    @staticmethod
    def empty() -> KnowledgeGraph:
        """Return a graph without facts."""
        return KnowledgeGraph(Triples.empty(), Triples.empty())
