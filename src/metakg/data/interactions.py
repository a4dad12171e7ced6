"""`Interactions`: who touched what, and when. Immutable, checked once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg.errors import DataError
from metakg.types import Floats, Mask, Rows, Times


@dataclass(frozen=True, eq=False)
class Interactions:
    """Pairs of user and item rows, each observed once or more.

    Attributes:
        users: (n,) int32 user rows.
        items: (n,) int32 item rows.
        values: (n,) float32 ratings or counts, or None where a pair is just "observed".
        times_s: (n,) int64 UTC seconds of the first observation, or None where the data have no times.
    """

    users: Rows
    items: Rows
    values: Floats | None = None
    times_s: Times | None = None

    def __post_init__(self) -> None:
        columns = {"users": self.users, "items": self.items, "values": self.values, "times_s": self.times_s}
        for (name, column), dtype in zip(columns.items(), (np.int32, np.int32, np.float32, np.int64), strict=True):
            if column is None:
                continue
            if column.ndim != 1 or column.dtype != dtype:
                raise TypeError(
                    f"interactions.{name} must be a flat {np.dtype(dtype)} array, not {column.ndim}-d {column.dtype}"
                )
            if len(column) != len(self.users):
                raise DataError(
                    f"interactions, column {name}",
                    f"{len(column)} rows",
                    expected=f"{len(self.users)}, as in column users",
                    fix="Give all columns the same length.",
                )
        for name, rows in {"users": self.users, "items": self.items}.items():
            if len(rows) and rows.min() < 0:
                raise DataError(
                    f"interactions, column {name}",
                    f"row {rows.min()}",
                    expected="rows from 0",
                    fix="Map unknown ids before building interactions.",
                )

    def __len__(self) -> int:
        return len(self.users)

    def select(self, keep: Mask | npt.NDArray[np.integer]) -> Interactions:
        """Return the rows that a mask or an index array picks."""
        return Interactions(
            self.users[keep],
            self.items[keep],
            None if self.values is None else self.values[keep],
            None if self.times_s is None else self.times_s[keep],
        )

    def pairs_only(self) -> Interactions:
        """Return the same pairs without values and times."""
        return self if self.values is None and self.times_s is None else Interactions(self.users, self.items)

    def keys(self, n_items: int) -> Times:
        """Return one int64 per pair, equal for equal pairs: user * n_items + item."""
        return self.users.astype(np.int64) * n_items + self.items

    def has(self, users: Rows, items: Rows) -> Mask:
        """Say which of some pairs were observed; -1 is nobody and nothing: (n,), (n,) -> (n,).

        Only the pairs of these users are compared: with all, a newcomer's few clicks would cost what all others have clicked.
        """
        asked = np.zeros(max(int(self.users.max(initial=-1)), int(users.max(initial=-1))) + 2, np.bool_)
        asked[users] = True  # -1 asks for the last place, which is nobody's
        theirs, n = self.select(asked[self.users]), int(max(self.items.max(initial=-1), items.max(initial=-1))) + 1
        keys = users.astype(np.int64) * n + items
        return np.asarray((users >= 0) & (items >= 0) & np.isin(keys, theirs.keys(n)))

    def csr(self, n_users: int, n_items: int) -> sparse.csr_array:
        """Return the (U, I) float32 matrix with a one for every observed pair, however often it was observed."""
        ones = np.ones(len(self), np.float32)
        matrix = sparse.csr_array(sparse.coo_array((ones, (self.users, self.items)), shape=(n_users, n_items)))
        matrix.data[:] = 1.0  # the conversion above summed repeated pairs
        return matrix

    @staticmethod
    def empty() -> Interactions:
        """Return no interactions."""
        return Interactions(np.empty(0, np.int32), np.empty(0, np.int32))

    @staticmethod
    def concat(first: Interactions, second: Interactions) -> Interactions:
        """Return both, one after the other; values and times are kept only if both have them."""
        return Interactions(
            np.concatenate([first.users, second.users]),
            np.concatenate([first.items, second.items]),
            None if first.values is None or second.values is None else np.concatenate([first.values, second.values]),
            None if first.times_s is None or second.times_s is None else np.concatenate([first.times_s, second.times_s]),
        )
