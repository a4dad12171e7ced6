"""`IdMap`: the only place where the outside world's ids (strings) and row numbers meet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metakg.errors import DataError
from metakg.types import Rows

Ids: TypeAlias = Sequence[str | None] | pa.Array | pa.ChunkedArray

_FEW = 64
"""Up to so many ids are looked up one by one in a dictionary that is built once."""


class IdMap:
    """An immutable two-way map between string ids and row numbers 0..n-1, with optional labels for people.

    Args:
        ids: the ids in row order; unique, none missing.
        labels: readable names in the same order; a missing one (None) falls back to the id.
        kind: what the ids are ("user", "item", "entity", "relation"), for error messages.

    Raises:
        DataError: an id is missing or occurs twice, or the labels have another length.
    """

    def __init__(self, ids: Ids, labels: Ids | None = None, *, kind: str = "id") -> None:
        self.kind = kind
        self.array = _strings(ids)
        self._labels = None if labels is None else _strings(labels)
        if self.array.null_count:
            raise DataError(f"{kind} ids", "a missing id", expected="a string in every row", fix="Remove the empty row.")
        if self._labels is not None and len(self._labels) != len(self.array):
            raise DataError(
                f"{kind} labels",
                f"{len(self._labels)} labels",
                expected=f"one for each of the {len(self.array)} ids",
                fix="Use null where an id has no label.",
            )
        counts = pc.value_counts(self.array)
        if len(counts) != len(self.array):
            twice = counts.filter(pc.greater(counts.field("counts"), 1))[0].as_py()
            self._refuse_twice(twice["values"], twice["counts"])

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"IdMap({len(self):,} {self.kind} ids)"

    def __contains__(self, item: object) -> bool:
        return item in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self.array.equals(other.array)

    __hash__ = None  # type: ignore[assignment]  # equal maps may be large; nobody should key by one

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.array.to_pylist())}

    def row(self, name: str) -> int | None:
        """Return the row of one id, or None if it is unknown. Ids are text: a number would be nobody, without a word."""
        if not isinstance(name, str):
            raise TypeError(f"ids are text: give {str(name)!r}, not {name!r}")
        return self._index.get(name)

    def rows(self, names: Ids) -> Rows:
        """Return the rows of many ids, -1 where unknown: (n,) strings -> (n,) int32."""
        wanted = _strings(names)
        if len(wanted) <= _FEW:  # a click at serve time must not cost a pass over all ids
            return np.array([self._index.get(name, -1) for name in wanted.to_pylist()], dtype=np.int32)
        found = pc.index_in(wanted, value_set=self.array)
        return np.array(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int32)

    def id(self, row: int) -> str:
        """Return the id of one row."""
        return str(self.array[int(row)].as_py())

    def ids(self, rows: Rows) -> list[str]:
        """Return the ids of many rows: (n,) int32 -> n strings."""
        return [str(name) for name in self.take(rows).to_pylist()]

    def take(self, rows: Rows) -> pa.Array:
        """Return the ids of many rows as an Arrow array, without making Python strings."""
        return self.array.take(pa.array(rows))

    def label(self, row: int) -> str:
        """Return the readable name of one row, or its id where it has none."""
        if self._labels is not None:
            text = self._labels[int(row)].as_py()
            if text:
                return str(text)
        return self.id(row)

    @property
    def labels(self) -> pa.Array | None:
        """The labels as an Arrow array of strings with nulls, or None if no row has one."""
        return self._labels

    def select(self, rows: Rows) -> IdMap:
        """Return the map of these rows, renumbered in the given order."""
        labels = None if self._labels is None else self._labels.take(pa.array(rows))
        return IdMap(self.take(rows), labels, kind=self.kind)

    def extend(self, names: Ids, labels: Ids | None = None) -> IdMap:
        """Return a map with new ids appended; the existing rows keep their numbers.

        Costs a copy of the ids but no second look at those that are known to be unique already.

        Raises:
            DataError: an id is known already or occurs twice, or the labels have another length.
        """
        added = IdMap(names, labels, kind=self.kind)
        if not len(added):
            return self
        rows = self.rows(added.array)
        if (rows >= 0).any():
            self._refuse_twice(self.id(int(rows.max())), 2)
        larger = IdMap.__new__(IdMap)
        larger.kind = self.kind
        larger.array = pa.concat_arrays([self.array, added.array])
        larger._labels = None
        if self._labels is not None or added._labels is not None:
            parts = [m._labels if m._labels is not None else pa.nulls(len(m), pa.string()) for m in (self, added)]
            larger._labels = pa.concat_arrays(parts)
        if "_index" in self.__dict__:
            larger._index = self._index | {name: row for row, name in enumerate(added.array.to_pylist(), len(self))}
        return larger

    def _refuse_twice(self, name: str, times: int) -> NoReturn:
        raise DataError(
            f"{self.kind} ids",
            f"{name!r} {times} times",
            expected="every id once",
            fix="Merge or remove the repeated rows.",
        )


def place_by_id(ids: IdMap) -> Rows:
    """Return each row's place when the ids are sorted by their bytes: (n,) int32."""
    place = np.empty(len(ids), np.int32)
    place[np.asarray(pc.sort_indices(ids.array))] = np.arange(len(ids), dtype=np.int32)
    return place


def _strings(values: Ids) -> pa.Array:
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array if array.type == pa.string() else array.cast(pa.string())
