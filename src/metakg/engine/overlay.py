"""`Overlay`: what each user did since training, beside the data and never inside it.

Clicks are kept by external id, so that an item which is still unknown counts from the moment it arrives. The overlay is a
value: adding a click makes a new one that shares nearly everything with the old one, in time that depends on this user's clicks
alone. That is what makes adapting quick, reversible, independent of order, and invisible to everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_SHARDS = 1024
"""Users are spread over so many small dictionaries; a change copies one of them. With a million users that is 1,000 entries."""


def several(ids: Iterable[str], argument: str) -> Iterable[str]:
    """Return ids as they are; one text in the place of several would be taken letter by letter."""
    if isinstance(ids, str | bytes):
        raise TypeError(f"{argument} takes several ids: give [{ids!r}], not {ids!r}")
    return ids


def ids_of(given: Iterable[str], argument: str) -> frozenset[str]:
    """Return ids as a set; what is no text is refused, since it would be an id that nothing is known of."""
    found = frozenset(several(given, argument))
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"ids are text: give {str(name)!r} in {argument}, not {name!r}")
    return found


@dataclass(frozen=True)
class Clicks:
    """What one user did since training: external item ids, each once, ascending.

    Attributes:
        liked: items clicked.
        disliked: items refused; never among `liked`, since the last word counts.
    """

    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()

    def then(self, liked: Iterable[str], disliked: Iterable[str]) -> Clicks:
        """Return these clicks and the next ones. The last word counts; of one breath, the refusal."""
        refused = ids_of(disliked, "disliked")
        added = ids_of(liked, "liked") - refused
        return Clicks(
            tuple(sorted((frozenset(self.liked) | added) - refused)),
            tuple(sorted((frozenset(self.disliked) - added) | refused)),
        )

    def without(self, item: str) -> Clicks:
        """Return these clicks without an item."""
        return Clicks(tuple(i for i in self.liked if i != item), tuple(i for i in self.disliked if i != item))

    def __bool__(self) -> bool:
        return bool(self.liked or self.disliked)


NOTHING = Clicks()


class Overlay:
    """An immutable map from user id to his clicks."""

    def __init__(self) -> None:
        self._shards: tuple[dict[str, Clicks], ...] = ({},) * _SHARDS
        self._size = 0

    @staticmethod
    def of(entries: Iterable[tuple[str, Clicks]]) -> Overlay:
        """Return an overlay of many users at once; a user without clicks is left out."""
        made = Overlay()
        shards: list[dict[str, Clicks]] = [{} for _ in range(_SHARDS)]
        for user, clicks in entries:
            if clicks:
                shards[hash(user) % _SHARDS][user] = clicks
        made._shards = tuple(shards)
        made._size = sum(map(len, shards))
        return made

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __getitem__(self, user: str) -> Clicks:
        """Return a user's clicks; of a user nobody has heard of, none."""
        return self._shards[hash(user) % _SHARDS].get(user, NOTHING)

    @property
    def shards(self) -> tuple[dict[str, Clicks], ...]:
        """The parts it is made of, in a fixed order. One that did not change is the same object in the next overlay."""
        return self._shards

    def items(self) -> Iterator[tuple[str, Clicks]]:
        """Return all users with their clicks, in no particular order."""
        for shard in self._shards:
            yield from shard.items()

    def put(self, user: str, clicks: Clicks) -> Overlay:
        """Return an overlay in which a user has exactly these clicks; without any, he is not in it."""
        place = hash(user) % _SHARDS
        shard = self._shards[place]
        if shard.get(user, NOTHING) == clicks:
            return self
        changed = dict(shard)
        changed.pop(user, None)
        if clicks:
            changed[user] = clicks
        made = Overlay()
        made._shards = (*self._shards[:place], changed, *self._shards[place + 1 :])
        made._size = self._size + len(changed) - len(shard)
        return made


class Counted:
    """Sums over the users of an overlay. Only the parts that changed since the last time are walked.

    Args:
        of: what one user adds: (id, clicks) -> three numbers.
    """

    def __init__(self, of: Callable[[str, Clicks], tuple[int, int, int]]) -> None:
        self._of = of
        self._known: list[tuple[dict[str, Clicks], tuple[int, int, int]]] = [({}, (0, 0, 0))] * _SHARDS

    def __call__(self, overlay: Overlay) -> tuple[int, int, int]:
        """Return the three sums."""
        first = second = third = 0
        for place, shard in enumerate(overlay.shards):
            seen, sums = self._known[place]
            if seen is not shard:
                numbers = [self._of(user, clicks) for user, clicks in shard.items()]
                sums = (sum(a for a, _, _ in numbers), sum(b for _, b, _ in numbers), sum(c for _, _, c in numbers))
                self._known[place] = (shard, sums)  # one step, so that several threads may count at once
            first, second, third = first + sums[0], second + sums[1], third + sums[2]
        return first, second, third
