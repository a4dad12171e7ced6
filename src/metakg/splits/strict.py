"""Protocol `strict`: new users and items do not exist for a model before they arrive, and answers lie at the end of time.

The latest 20 % of the users and of the items, by first time, are new. Training pairs are old users x old items. A model is
built over old ids only; a new id, and every entity that only new ids lead to, comes with the support of a scenario.

    user_cold       new users x old items   query: the user's latest pairs, up to 10; k shots: the user's first k pairs
    item_cold       old users x new items   query: the user's latest pairs, up to 10; k shots: the first k clicks of each item
    user_item_cold  new users x new items   query: the user's latest pairs, up to 10; k shots: the user's first k *old* items
    warm            old users x old items   query: the latest pairs, up to 10, of a random 10 % of the old users; no support

So that curves over the number of shots compare the same thing:

- The query is the same for every k, and no pair of the support pool is ever in it.
- In `user_cold` and `user_item_cold` a user needs 10 pairs to reveal (`min_support`) beside the query; who has fewer is not
  in the scenario. A query is shorter than 10 where it must be.
- In `item_cold` the pool of a new item is its first 10 clicks by old users, but at most half of its clicks, so that something
  is left to ask for. By default none is revealed: a new item has its facts only. Pairs of the pool are not asked for even when
  they are not revealed, and neither are those of a user beyond the latest 10.

What this guards against: no query pair is in the training pairs, the tasks or a support; no new id and no fact about one is
in the training view; a query is later than every pair of the same user that is learnt from or revealed in `user_cold` and
`warm`, and than the revealed clicks of the same item in `item_cold`.

What it does not guard against: pairs of *other* users (in `item_cold` also the user's own old-item pairs) may be later
than an answer, so a model may know what became popular after it. On ml-100k under 3 % of the training pairs are later than
the first new user's first pair, but 71 % are later than the first new item's. `global_time` also drops those training pairs
and takes the warm queries from after that moment. What is revealed of one user or item may still be later than the answer of
another. In `user_item_cold` a revealed old item may be later than the query without that switch: people who rate in one
sitting would otherwise have next to no support.

Data without times are cut with `arrival = "lot"`: which users and items are new, and the order of all pairs, are drawn by
lot. It says nothing of what comes later: what is popular among the answers is as popular in training.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metakg import rng
from metakg.data import Dataset, Interactions, Scenario, Split, Tasks
from metakg.data.scenario import rank_within
from metakg.splits import order
from metakg.splits.config import StrictConfig
from metakg.types import Json, Times


def split_strictly(dataset: Dataset, config: StrictConfig) -> Split:
    """Cut a data set by the strict protocol, with a validation split of the training part by the same rule.

    Raises:
        DataError: the data have no times (and `arrival` is not "lot"), or repeated pairs.
    """
    outer = _cut(dataset, config, config.new_users, config.new_items)
    if not config.validation:
        return outer
    inner = _cut(training_data(outer), config, config.validation_users, config.validation_items)
    return replace(outer, validation=inner)


def training_data(split: Split) -> Dataset:
    """Return the training part of a split as a data set of its own: known ids, their facts, the training pairs with times."""
    view = split.train
    pairs = Interactions(view.interactions.users, view.interactions.items, split.pairs.values, split.pairs.times_s)
    return Dataset(view.vocabulary, pairs, view.graph, {"cut_from": "the training part of a split"})


def _cut(dataset: Dataset, config: StrictConfig, share_users: float, share_items: float) -> Split:
    v, seed = dataset.vocabulary, config.seed
    pairs = order.by_lots(dataset, seed) if config.arrival == "lot" else order.in_time(dataset, seed)
    assert pairs.times_s is not None
    first_user, seen_user = order.first_times(pairs.users, pairs.times_s, v.n_users)
    first_item, seen_item = order.first_times(pairs.items, pairs.times_s, v.n_items)
    if config.arrival == "lot":  # by the first of drawn places, whoever clicked much would be old
        new_users = order.draw(seen_user, v.users, share_users, seed, "new users")
        new_items = order.draw(seen_item, v.items, share_items, seed, "new items")
    else:
        new_users = order.latest(first_user, seen_user, v.users, share_users, seed)
        new_items = order.latest(first_item, seen_item, v.items, share_items, seed)
    new_user, new_item = new_users[pairs.users], new_items[pairs.items]
    old = pairs.select(~new_user & ~new_item)
    cut_s = min(first_user[new_users].min(initial=_NEVER), first_item[new_items].min(initial=_NEVER))

    training, warm = _warm(dataset, old, config, int(cut_s))
    of_new_users = pairs.select(new_user & ~new_item)
    user_cold = latest_of_user(of_new_users, config)
    item_cold = _item_cold(pairs.select(~new_user & new_item), v.n_items, config)
    user_item_cold = _user_item_cold(pairs.select(new_user & new_item), of_new_users, v.n_users, config)
    olds = np.flatnonzero(~new_items).astype(np.int32)
    news = np.flatnonzero(new_items).astype(np.int32)
    scenarios = {
        "user_cold": Scenario("user_cold", *user_cold, olds),
        "item_cold": Scenario("item_cold", *item_cold, news, "item", 0),
        "user_item_cold": Scenario("user_item_cold", *user_item_cold, news),
        "warm": Scenario("warm", _none_of(pairs), warm, olds),
    }
    task_support, task_query = latest_of_user(training, config)
    tasks = Tasks(np.unique(task_query.users), task_support, task_query)
    by_time = config.arrival == "time"
    first_new_s = int(cut_s) if by_time and cut_s < _NEVER else None
    manifest: Json = {"options": config.model_dump(mode="json"), "first_new_s": first_new_s}
    manifest["left_out"] = {name: _too_few(config)[name] for name, s in scenarios.items() if not len(s.query)}
    if by_time:
        firsts = (
            ("users", first_user[seen_user], first_user[new_users]),
            ("items", first_item[seen_item], first_item[new_items]),
        )
        manifest["remarks"] = [remark for what, all_s, new_s in firsts for remark in _decided_by_lot(what, all_s, new_s)]
    found = Split(
        "strict",
        dataset,
        ~new_users,
        ~new_items,
        training,
        tasks if len(tasks) else None,
        {name: scenario for name, scenario in scenarios.items() if len(scenario.query)},
        None,
        manifest,
    )
    return found if by_time else _without_places(found)


_NEVER = np.iinfo(np.int64).max
_MANY = 0.1
"""So large a share of one first time is worth a remark."""


def _too_few(config: StrictConfig) -> dict[str, str]:
    """Return for each scenario what nobody has, if it is empty; the numbers follow from the setting that is named."""
    least = f"min_support={config.min_support}"
    return {
        "user_cold": f"no new user has {config.min_support + 1} pairs with old items ({least}, and one to ask for)",
        "item_cold": "no old user has a pair with a new item, beside those that are set aside to be revealed (max_shots)",
        "user_item_cold": f"no new user has {config.min_support} pairs with old items ({least}) and one with a new item",
        "warm": f"no old user has {config.min_support + 1} pairs with old items ({least}, and one to ask for)",
    }


def _decided_by_lot(what: str, first_s: Times, new_s: Times) -> list[str]:
    """Return a remark where many have the very first time at which the new ones begin, so that lots decide who is new."""
    share = float((first_s == new_s.min()).mean()) if len(new_s) else 0.0
    if share <= _MANY:
        return []
    return [
        f"{share:.0%} of the {what} have one first time, the one where the new ones begin: which of them are new, lots decided"
    ]


def latest_of_user(pairs: Interactions, config: StrictConfig) -> tuple[Interactions, Interactions]:
    """Return support (the earlier pairs) and query (the latest) of the users with enough pairs, each user's in time order."""
    sizes = np.bincount(pairs.users)
    n_query = np.minimum(config.n_query, sizes - config.min_support)
    pairs = pairs.select((n_query >= 1)[pairs.users])
    query = order.last_of_each(pairs.users, np.maximum(n_query, 0))
    return pairs.select(~query), pairs.select(query)


def _warm(dataset: Dataset, old: Interactions, config: StrictConfig, cut_s: int) -> tuple[Interactions, Interactions]:
    """Return the training pairs and the warm query."""
    v = dataset.vocabulary
    assert old.times_s is not None
    may_ask = old.times_s >= cut_s if config.global_time else np.ones(len(old), np.bool_)
    sizes = np.bincount(old.users, minlength=v.n_users)
    earlier = np.bincount(old.users[~may_ask], minlength=v.n_users)
    n_query = np.minimum(np.minimum(config.n_query, sizes - config.min_support), sizes - earlier)
    if config.global_time:  # what is later than the cut is not learnt from, so enough must be earlier
        n_query[earlier < config.min_support] = 0
    drawn = order.draw(n_query >= 1, v.users, config.warm_users, config.seed, "warm users")
    query = order.last_of_each(old.users, np.where(drawn, n_query, 0))
    learnt = ~query & ~may_ask if config.global_time else ~query
    return old.select(learnt), old.select(query)


def _item_cold(pairs: Interactions, n_items: int, config: StrictConfig) -> tuple[Interactions, Interactions]:
    """Return the pool of first clicks of each new item, and the users' latest other pairs as query."""
    assert pairs.times_s is not None
    sizes = np.bincount(pairs.items, minlength=n_items)
    lots = rng.generator(config.seed, "split/ties of clicks").permutation(len(pairs))
    in_time = np.lexsort((lots, pairs.times_s))
    place = np.empty(len(pairs), np.int32)
    place[in_time] = rank_within(pairs.items[in_time])
    pool = place < np.minimum(config.max_shots, sizes // 2)[pairs.items]
    rest = pairs.select(~pool)
    query = order.last_of_each(rest.users, np.full(rest.users.max(initial=-1) + 1, config.n_query))
    return pairs.select(in_time[pool[in_time]]), rest.select(query)


def _user_item_cold(
    asked: Interactions, shown: Interactions, n_users: int, config: StrictConfig
) -> tuple[Interactions, Interactions]:
    """Return the old items of the new users as support, and their latest new items as query."""
    query = asked.select(order.last_of_each(asked.users, np.full(n_users, config.n_query)))
    assert query.times_s is not None
    assert shown.times_s is not None
    if config.global_time:
        first_query, _ = order.first_times(query.users, query.times_s, n_users)
        shown = shown.select(shown.times_s < first_query[shown.users])
    asking = np.bincount(query.users, minlength=n_users) > 0
    enough = asking & (np.bincount(shown.users, minlength=n_users) >= config.min_support)
    return shown.select(enough[shown.users]), query.select(enough[query.users])


def _without_places(split: Split) -> Split:
    """Return a split whose pairs have no times: places in a drawn order are none."""

    def untimed(pairs: Interactions) -> Interactions:
        return Interactions(pairs.users, pairs.items, pairs.values)

    def drawn(scenario: Scenario) -> Scenario:
        rule = "some asked, by lot" + (", nothing revealed by default" if scenario.default_shots == 0 else "")
        support, query = untimed(scenario.support), untimed(scenario.query)
        return replace(scenario, support=support, query=query, manifest={**scenario.manifest, "rule": rule})

    tasks, scenarios = split.tasks, split.scenarios
    return replace(
        split,
        pairs=untimed(split.pairs),
        tasks=None if tasks is None else Tasks(tasks.users, untimed(tasks.support), untimed(tasks.query)),
        scenarios={name: drawn(scenario) for name, scenario in scenarios.items()},
    )


def _none_of(pairs: Interactions) -> Interactions:
    return pairs.select(np.empty(0, np.int32))
