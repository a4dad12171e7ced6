"""Top K of inner products: screened in low precision, decided in exact arithmetic.

The score of user vector u and item vector v is their inner product rounded once to float32. It depends on nothing but
the two vectors: not on block sizes, threads, or the processor, and equal item vectors tie exactly.

Multiplying all users by all items in float32 and sorting the result is slow, so almost every item is ruled out first:

1. All products are computed in bfloat16 where the processor has instructions for it, else in float32.
2. The error of such a product is bounded. With x~ for the rounded x, |x| for a length, and D for the width,

       | u.v - computed |  <=  |u - u~| |v|  +  |u~| |v - v~|  +  D 2^-23 |u~| |v~|   =: m,

   and where the result is itself rounded to bfloat16, by 2^-8 of it more.
3. If t is the K-th largest of the maxima of disjoint groups of items, K items have a true score of at least t - m.
   Whatever belongs to the top K has that too, so its screened score is at least t - 2m (less the roundings).
4. The few items that reach this floor are scored exactly and ordered. The bound is checked once more on them; a row that
   breaks it, or in which too many items reach the floor, is scored exactly as a whole.

So the result always equals a full sort of the exact scores, whatever the screen was computed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metakg.evaluation.masks import Masked
from metakg.evaluation.topk import order, top_k

Precision = Literal["auto", "bfloat16", "float32"]

GROUP = 16
"""Items in a group of the first level, and groups of the first level in one of the second."""
SCREEN_BYTES = 24 << 20
"""Screened scores held at a time: small enough for the caches of larger machines, large enough to share among threads."""
EXACT_BYTES = 64 << 20
"""Scores held at a time where rows are scored as a whole."""


def screen_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the format of the screening product.

    `auto` takes bfloat16 on processors that multiply it natively (AVX512-BF16, AMX); elsewhere it is emulated and slower
    than float32. Accelerators are fast enough in float32.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cpu" and _native_bfloat16() else torch.float32
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]


def _native_bfloat16() -> bool:
    """Ask the processor; torch has no public question for this."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def inner_product_top_k(
    users: Tensor,
    items: Tensor,
    k: int,
    masked: Masked,
    *,
    precision: Precision = "auto",
    block: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the best items of every user by inner product: (B, D), (I, D) float32 -> (B, k) int64, (B, k) float32.

    Args:
        users: user vectors; all products with item vectors must be finite.
        items: item vectors.
        k: length of the lists.
        masked: items that are never shown, by user.
        precision: format of the screening product; it changes the speed and never the result.
        block: users screened at a time; the default follows from `SCREEN_BYTES`.

    Returns:
        Items by falling score, then rising item; -1 with score minus infinity where a user has fewer than k.
    """
    n_users, n_items = len(users), len(items)
    best = torch.full((n_users, k), -1, device=users.device)
    scores = torch.full((n_users, k), -torch.inf, device=users.device)
    whole = torch.ones(n_users, dtype=torch.bool, device=users.device)
    if n_items >= 2 * k * GROUP:  # else there are too few groups to rule anything out
        dtype = screen_dtype(precision, users.device)
        screen = _Screen(_Rounded.of(users, dtype), _Rounded.of(items, dtype), k, masked)
        block = min(n_users, block or max(32, SCREEN_BYTES // (screen.rows * dtype.itemsize) // 32 * 32))
        buffer = torch.empty(screen.rows * block, dtype=dtype, device=users.device)
        for part in _slices(n_users, block):
            best[part], scores[part], whole[part] = screen.rank(part, buffer)
    redo = whole.nonzero()[:, 0]
    for part in _slices(len(redo), max(1, EXACT_BYTES // (8 * max(1, n_items)))):
        rows = redo[part]
        dense = inner_products(users[rows], items)
        dense[masked.select(rows).within(0, len(rows))] = -torch.inf
        best[rows], scores[rows] = top_k(dense, k)
    return best, scores


@dataclass(frozen=True, eq=False)
class _Rounded:
    """Vectors in the screening format, with the lengths that bound its error.

    Attributes:
        exact: (n, D) float32 vectors.
        rounded: (n, D) the same in the screening format.
        length: (n,) float64, at least the length of each exact vector.
        loss: (n,) float64, at least the length of what rounding took from it.
    """

    exact: Tensor
    rounded: Tensor
    length: Tensor
    loss: Tensor

    @staticmethod
    def of(vectors: Tensor, dtype: torch.dtype) -> _Rounded:
        rounded = torch.empty_like(vectors, dtype=dtype)
        length, loss = torch.empty(2, len(vectors), device=vectors.device)
        for part in _slices(len(vectors), 8192):  # in pieces that stay in the cache
            exact = vectors[part]
            rounded[part] = exact
            torch.linalg.vector_norm(exact, dim=1, out=length[part])
            torch.linalg.vector_norm(rounded[part].float() - exact, dim=1, out=loss[part])
        slack = 1 + 2.0**-10  # for the float32 arithmetic of the lengths themselves
        length, loss = length.double() * slack, loss.double() * slack
        if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
            loss = length * 2.0**-8  # somebody allowed torch to round the factors of float32 products
        return _Rounded(vectors, rounded, length, loss)


@dataclass(frozen=True, eq=False)
class _Screen:
    """Steps 1 to 4 of the module's docstring, for one block of users at a time.

    Scores lie items first, (rows, B): the product and the maxima over neighbouring items are fastest so.
    """

    users: _Rounded
    items: _Rounded
    k: int
    masked: Masked

    @property
    def rows(self) -> int:
        """Number of items, rounded up to whole groups of both levels."""
        return -(-len(self.items.exact) // GROUP**2) * GROUP**2

    def rank(self, part: slice, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rank the users of `part`: -> (B, k) items, (B, k) scores, (B,) whether the row must be scored as a whole."""
        n_users = part.stop - part.start
        margin = self._margin(part)
        keys, maxima, floor = self._reach(self._product(part, buffer), margin)
        hits = (maxima >= floor).T.contiguous()  # (B, G)
        whole = hits.sum(1) > 8 * self.k + 64
        hits[whole] = False
        user, group = hits.nonzero(as_tuple=True)  # (P,), (P,)
        item = group[:, None] * GROUP + torch.arange(GROUP, device=group.device)  # (P, GROUP)
        found = keys.view(-1)[item * n_users + user[:, None]]
        keep = found >= floor[user, None]
        user, item = user[:, None].expand_as(item)[keep], item[keep]

        score = _exact_pairs(self.users.exact[part], self.items.exact, user, item)
        gap = (_value(found[keep], buffer.dtype).double() - score.double()).abs()
        whole[user[gap > margin[user] + 2 * _unit(buffer.dtype) * score.abs()]] = True
        return *order(user, item, score, n_users, self.k), whole

    def _product(self, part: slice, buffer: Tensor) -> Tensor:
        """Return the screened scores of a block, masked: (rows, B)."""
        n_users, n_items = part.stop - part.start, len(self.items.exact)
        product = buffer[: self.rows * n_users].view(self.rows, n_users)
        torch.mm(self.items.rounded, self.users.rounded[part].T, out=product[:n_items])
        product[n_items:] = -torch.inf
        user, item = self.masked.within(part.start, part.stop)
        product[item, user] = -torch.inf
        return product

    def _margin(self, part: slice) -> Tensor:
        """Return the bound m of the module's docstring for each user and any item: (B,) float64."""
        width = self.users.exact.shape[1]
        u, du = self.users.length[part], self.users.loss[part]
        v, dv = self.items.length.max(), self.items.loss.max()
        sums = (width + 8) * 2.0**-23 * (u + du) * (v + dv)
        tiny = (width + 8) * 2.0**-126 * (1 + u + v)  # numbers as small as this may be flushed to zero
        return du * v + (u + du) * dv + sums + tiny

    def _reach(self, product: Tensor, margin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys of the scores, the maxima of their groups, and what a key must reach: (rows, B), (G, B), (B,).

        Bfloat16 has no fast maximum, but the bit patterns of its non-negative numbers order as integers do. As long as
        every floor is positive that is enough: whatever is negative stays below. Otherwise the bits are mapped first.
        """
        if product.dtype != torch.bfloat16:
            maxima, best = self._group_maxima(product)
            return product, maxima, _floor(best, margin, product.dtype)
        keys = product.view(torch.int16)
        maxima, best = self._group_maxima(keys)
        floor = _floor(best, margin, product.dtype)
        if bool((torch.minimum(best, floor) <= 0).any()):
            keys = _in_order(keys)
            maxima, best = self._group_maxima(keys)
            floor = _floor(best, margin, product.dtype)
        return keys, maxima, floor

    def _group_maxima(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maxima of the first-level groups and the k-th largest group maximum: (rows, B) -> (G, B), (B,)."""
        maxima = keys.view(-1, GROUP, keys.shape[1]).amax(1)
        second = maxima.view(-1, GROUP, keys.shape[1]).amax(1)
        tops = second if len(second) >= 2 * self.k else maxima
        return maxima, tops.T.contiguous().topk(self.k, dim=1).values[:, -1]


def _floor(best: Tensor, margin: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the key that every member of the top K reaches, given the key of t: (B,), (B,) -> (B,).

    2^-22 stands for the one rounding of exact scores to float32: what ties with the K-th score then must reach it too.
    """
    lowest = torch.finfo(dtype).min  # where fewer than K groups are left, all that is not masked reaches the floor
    t = _value(best, dtype).double().clamp(min=lowest)
    at = (t - (_unit(dtype) + 2.0**-22) * t.abs() - (2 + 2.0**-20) * margin).clamp(min=lowest)
    rounded = at.float().to(dtype)
    if dtype != torch.bfloat16:
        return torch.where(rounded.double() > at, rounded.nextafter(rounded.new_tensor(-torch.inf)), rounded)
    key = _in_order(rounded.view(torch.int16))
    return torch.where((rounded.double() > at) | (key == 0), key - 1, key)  # the key below 0.0 is that of -0.0


def _unit(dtype: torch.dtype) -> float:
    """Return the largest relative error of rounding a screened score to its format, 0 if it is not rounded again."""
    return 2.0**-8 if dtype == torch.bfloat16 else 0.0


def _value(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the float32 scores that keys stand for."""
    return _in_order(keys).view(torch.bfloat16).float() if dtype == torch.bfloat16 else keys


def _in_order(bits: Tensor) -> Tensor:
    """Map bfloat16 bits to integers that order as the numbers do; its own inverse, and nothing changes from zero up."""
    return bits ^ ((bits >> 15) & 0x7FFF)


def _exact_pairs(users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
    """Return the inner products of single pairs, rounded once: (B, D), (I, D), two (P,) -> (P,) float32."""
    wide = users.double()
    scores = torch.empty(len(user), device=users.device)
    for part in _slices(len(user), 4096):
        terms = items.index_select(0, item[part]).double()
        terms *= wide.index_select(0, user[part])  # exact: a product of two float32 fits into float64
        sums = terms.sum(1)
        scores[part] = _round_once(sums, terms.abs_().sum(1), users, items, user[part], item[part])
    return scores


def inner_products(users: Tensor, items: Tensor) -> Tensor:
    """Return the inner products of users with all items, rounded once: (B, D), (I, D) -> (B, I) float32."""
    wide = users.double()
    scores = torch.empty(len(users), len(items), device=users.device)
    everybody = torch.arange(len(users), device=users.device)[:, None]
    for part in _slices(len(items), 8192):
        piece = items[part].double()
        sums, size = wide @ piece.T, wide.abs() @ piece.abs().T
        names = torch.arange(part.start, part.stop, device=users.device)
        user, item = everybody.expand_as(sums), names.expand_as(sums)
        scores[:, part] = _round_once(sums, size, users, items, user, item)
    return scores


def _round_once(sums: Tensor, size: Tensor, users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
    """Round float64 sums of products to float32 as the exact sums would be rounded.

    Args:
        sums: any shape, the sums, each added up in some order.
        size: the same with absolute values; with the unit of float64 it bounds the error of `sums`.
        users: (B, D) float32 vectors.
        items: (I, D) float32 vectors.
        user: row of each sum in `users`.
        item: row of each sum in `items`.
    """
    error = size * ((users.shape[1] + 8) * 2.0**-53)
    low, high = (sums - error).float(), (sums + error).float()
    unsure = low != high
    if unsure.any():  # about one in a million, and sums that cancel
        high[unsure] = _compensated(users, items, user[unsure], item[unsure])
    return high


def _compensated(users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
    """Return inner products in twice the precision of float64, rounded to float32: two (P,) -> (P,).

    Ogita, Rump and Oishi 2005, "Accurate sum and dot product", algorithm Sum2; the products are exact in float64.
    """
    scores = torch.empty(len(user), device=users.device)
    for part in _slices(len(user), 8192):
        terms = (users[user[part]].double() * items[item[part]].double()).T.contiguous()  # (D, P)
        total, carry = torch.zeros_like(terms[0]), torch.zeros_like(terms[0])
        for term in terms:
            summed = total + term
            virtual = summed - total
            carry += (total - (summed - virtual)) + (term - virtual)
            total = summed
        scores[part] = _once(total, carry)
    return scores


def _once(total: Tensor, carry: Tensor) -> Tensor:
    """Round float64 sums total + carry to float32 without rounding them to float64 first: two (P,) -> (P,).

    Rounding to odd on the way (Boldo and Melquiond 2008): what lies beside the middle of two floats stays beside it.
    """
    near = total + carry
    rest = carry - (near - total)
    even = (near.view(torch.int64) & 1) == 0
    odd = near.nextafter(torch.where(rest > 0, torch.inf, -torch.inf))
    return torch.where(even & (rest != 0), odd, near).float()


def _slices(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
