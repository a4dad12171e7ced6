"""The clicks: each new item meets its first fans, then every user follows his tastes until he has had his number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metakg import rng as random
from metakg.data.scenario import rank_within
from metakg.generator.audience import minimum
from metakg.generator.quotas import Counts, distinct_integers
from metakg.generator.sampling import Groups, cumulated, weighted_position
from metakg.generator.world import World
from metakg.types import Rows

NOISE = -1
"""Topic of a click that no taste explains."""
GOES = (True,) * 6 + (False,) * 10
"""Rounds in which users follow their tastes: first in goes of several clicks, then one by one where something is left."""
NOISE_ROUNDS = 6
FAN_ROUNDS = 12
FAN_SHARE = 0.7
"""Part of a user's clicks that new items may claim."""
FAN_DELAY = 0.02
"""Mean time until a first fan comes, as part of the whole time."""


@dataclass(frozen=True)
class Clicks:
    """Interactions with their true reasons.

    Attributes:
        users: (n,) user rows.
        items: (n,) item rows.
        times: (n,) int64 seconds since the world's origin.
        topics: (n,) the topic that explains each, `NOISE` if none.
    """

    users: Rows
    items: Rows
    times: Counts
    topics: Rows

    def __len__(self) -> int:
        return len(self.users)

    def select(self, keep: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Clicks:
        """Return the clicks that a mask or an index array picks."""
        return Clicks(self.users[keep], self.items[keep], self.times[keep], self.topics[keep])

    @staticmethod
    def concat(parts: list[Clicks]) -> Clicks:
        """Return all, one part after the other."""
        empty = Clicks(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32))
        parts = [empty, *parts]
        return Clicks(
            np.concatenate([part.users for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.times for part in parts]),
            np.concatenate([part.topics for part in parts]),
        )


def first_fans(world: World) -> Clicks:
    """Return the first clicks on every item, sorted by user: as many as every item has at least.

    They go to users with a taste for the item, soon after both are there. That gives each item its minimum without a second
    look at the clicks of all users.
    """
    rng = random.generator(world.seed, "clicks/first")
    users, n_items, n_users = world.audience, world.config.items, world.config.users
    topics = _topics_of_items(world)
    owner = np.repeat(np.arange(n_users, dtype=np.int32), np.diff(users.starts))
    fans = Groups(users.topics, users.weights * users.clicks[owner], len(world.topics))
    room = np.maximum(1, (FAN_SHARE * users.clicks).astype(np.int64))
    wanted = np.repeat(np.arange(n_items, dtype=np.int32), minimum(world.config.interactions, n_items, 0.2))
    found: list[Clicks] = []
    taken = np.empty(0, np.int64)
    had = np.zeros(n_users, np.int64)
    unexplained = rng.random(len(wanted)) < world.config.noise
    for last in (False,) * (FAN_ROUNDS - 2) + (True,) * 2:
        topic = np.where(unexplained, np.int32(NOISE), topics.draw(wanted, rng))
        at = fans.draw(np.maximum(topic, 0), rng)
        liked = (topic >= 0) & (at >= 0) & (not last)
        free = cumulated(np.maximum(room - had, 0))
        user = weighted_position(free, *_ranges(len(wanted), n_users), rng).astype(np.int32)
        user = np.where(liked, owner[at], user)
        topic = np.where(liked, topic, np.int32(NOISE))
        offered = np.flatnonzero(liked | unexplained | last)  # nobody likes this side of the item: ask for another first
        keys = user[offered].astype(np.int64) * n_items + wanted[offered]
        first = np.unique(np.concatenate([taken, keys]), return_index=True)[1]
        offered = offered[np.sort(first[first >= len(taken)]) - len(taken)]
        offered = offered[rank_within(user[offered]) < (room - had)[user[offered]]]
        taken = np.concatenate([taken, user[offered].astype(np.int64) * n_items + wanted[offered]])
        had += np.bincount(user[offered], minlength=n_users)
        found.append(_soon(world, user[offered], wanted[offered], topic[offered], rng))
        wanted, unexplained = np.delete(wanted, offered), np.delete(unexplained, offered)
    lonely = np.setdiff1d(np.arange(n_items, dtype=np.int32), np.concatenate([part.items for part in found]))
    spare = np.repeat(np.arange(n_users, dtype=np.int32), users.clicks - had)
    chosen = spare[distinct_integers(len(lonely), len(spare), rng)]
    found.append(_soon(world, chosen, lonely, np.full(len(lonely), NOISE, np.int32), rng))
    clicks = Clicks.concat(found)
    return clicks.select(np.lexsort((clicks.items, clicks.users)))


def of_users(world: World, fans: Clicks, first: int, end: int) -> Clicks:
    """Return all clicks of the users first..end-1, sorted by user and time.

    Args:
        world: what is settled.
        fans: from `first_fans`.
        first: first user row.
        end: one past the last.
    """
    rng = random.generator(world.seed, f"clicks/{first}")
    budget = world.audience.clicks[first:end]
    low, high = np.searchsorted(fans.users, [first, end])
    clicks = fans.select(np.arange(low, high))

    def have(of: Clicks) -> Counts:
        return np.bincount(of.users - first, minlength=end - first)

    noise = have(clicks.select(clicks.topics == NOISE))
    explained = budget - np.maximum(rng.binomial(budget, world.config.noise), noise)
    for together in GOES:
        need = np.maximum(explained - have(clicks.select(clicks.topics != NOISE)), 0)
        if not need.any():
            break
        clicks = _with_fresh(clicks, _goes(world, first, need, rng, together=together), need, first, world.config.items)
    for _ in range(NOISE_ROUNDS):  # noise, and what the tastes did not have
        need = budget - have(clicks)
        if not need.any():
            break
        clicks = _with_fresh(clicks, _strays(world, first, need, rng), need, first, world.config.items)
    clicks = _complete(world, clicks, budget, first, rng)
    return clicks.select(np.lexsort((clicks.items, clicks.times, clicks.users)))


def _ranges(n: int, size: int) -> tuple[Counts, Counts]:
    return np.zeros(n, np.int64), np.full(n, size, np.int64)


def _topics_of_items(world: World) -> Groups:
    """Return the topics of each item; a specific one (few items) is more often the reason why somebody comes."""
    topics = world.topics
    size = np.diff(topics.starts)
    topic = np.repeat(np.arange(len(topics), dtype=np.int32), size)
    taste = np.array([relation.taste for relation in world.plan.relations])[topics.relations]
    return Groups(topics.items, (taste / np.sqrt(size))[topic], world.config.items, topic)


def _soon(world: World, users: Rows, items: Rows, topics: Rows, rng: np.random.Generator) -> Clicks:
    """Return clicks some time after both the item and the user are there."""
    both = np.maximum(np.maximum(world.arrived[users], world.released[items]), world.opening)
    left = world.closing - both
    wait = rng.exponential(FAN_DELAY * (world.closing - world.opening), len(users))
    wait = np.where(wait < left, wait, rng.random(len(users)) * left)
    return Clicks(users, items, both + wait.astype(np.int64), topics)


def _some_time(world: World, users: Rows, rng: np.random.Generator) -> Counts:
    came = world.arrived[users]
    return came + (rng.random(len(users)) * (world.closing - came)).astype(np.int64)


def _strays(world: World, first: int, need: Counts, rng: np.random.Generator) -> Clicks:
    """Return candidate clicks by popularity alone."""
    users = np.repeat(np.arange(first, first + len(need), dtype=np.int32), np.where(need > 0, need + need // 4 + 2, 0))
    at_time = _some_time(world, users, rng)
    items = world.shelves.pick(np.full(len(users), world.shelves.everything), at_time, world.lately, rng)
    return Clicks(users, items, at_time, np.full(len(users), NOISE, np.int32)).select(items >= 0)


def _goes(world: World, first: int, need: Counts, rng: np.random.Generator, *, together: bool) -> Clicks:
    """Return candidate clicks along tastes for users who need more; some will turn out to be repeats.

    Args:
        world: what is settled.
        first: first user row.
        need: (n,) how many clicks each user still needs.
        rng: source of chance.
        together: several clicks in one go, along the neighbours of the first; or one by one, and then rather along tastes
            that cover much, since those that cover little are used up.
    """
    users, domain, shelves = world.audience, world.plan.domain, world.shelves
    burst = domain.burst if together else 1.0
    n_goes = np.where(need > 0, np.ceil(1.2 * need / burst).astype(np.int64) + 2, 0)
    go_user = np.repeat(np.arange(first, first + len(need), dtype=np.int32), n_goes)
    start = _some_time(world, go_user, rng)
    lead = int(users.starts[first])
    mine = slice(lead, int(users.starts[first + len(need)]))
    weights = users.weights[mine] if together else users.weights[mine] * np.diff(world.topics.starts)[users.topics[mine]]
    at = weighted_position(cumulated(weights), users.starts[go_user] - lead, users.starts[go_user + 1] - lead, rng)
    topic = users.topics[mine][at]
    item = shelves.pick(topic, start, world.lately, rng)

    # A go continues along the item's neighbours (same series, same release), where the taste covers them too.
    length = rng.geometric(1 / burst, len(go_user))
    go = np.repeat(np.arange(len(go_user)), length)
    step = rank_within(go.astype(np.int32))
    gap = rng.exponential(domain.burst_gap_s, len(go)).astype(np.int64) + 1
    running = np.cumsum(gap)
    starts_of = np.cumsum(length) - length
    at_time = np.minimum(start[go] + running - running[starts_of][go], world.closing - 1)
    clicked, reason = item[go], topic[go]
    onward = np.flatnonzero((step > 0) & (item[go] >= 0))
    series = world.binge[item[go[onward]]]
    place = shelves.find(series, item[go[onward]]) + step[onward]
    inside = (series >= 0) & (place < shelves.starts[series + 1])
    neighbour = shelves.items[np.where(inside, place, 0)]
    good = inside & (world.released[neighbour] <= at_time[onward]) & (shelves.find(reason[onward], neighbour) >= 0)
    clicked[onward[good]] = neighbour[good]
    other = onward[~good]
    clicked[other] = shelves.pick(reason[other], at_time[other], world.lately, rng)
    return Clicks(go_user[go], clicked, at_time, reason).select(clicked >= 0)


def _with_fresh(clicks: Clicks, more: Clicks, need: Counts, first: int, n_items: int) -> Clicks:
    """Return `clicks` and those of `more` that are new pairs, in their order, no more than each user needs."""
    both = Clicks.concat([clicks, more])
    keys = (both.users - first).astype(np.int64) * n_items + both.items
    _, at = np.unique(keys, return_index=True)
    fresh = np.sort(at[at >= len(clicks)])
    user = both.users[fresh]
    fresh = fresh[rank_within(user) < need[user - first]]
    return both.select(np.concatenate([np.arange(len(clicks)), fresh]))


def _complete(world: World, clicks: Clicks, budget: Counts, first: int, rng: np.random.Generator) -> Clicks:
    """Return `clicks` and, for the few users who have had nearly everything, some of what they have not, as noise."""
    have = np.bincount(clicks.users - first, minlength=len(budget))
    parts = [clicks]
    for user in np.flatnonzero(have < budget).tolist():
        seen = clicks.items[clicks.users == first + user]
        free = np.setdiff1d(np.arange(world.config.items, dtype=np.int32), seen)
        items = free[distinct_integers(int(budget[user] - have[user]), len(free), rng)]
        users = np.full(len(items), first + user, np.int32)
        parts.append(_soon(world, users, items, np.full(len(items), NOISE, np.int32), rng))
    return Clicks.concat(parts)
