"""The strict protocol against a slow, plain-Python reading of its rules, and its promises on tied times."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metakg
from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.splits import split


def by_user(clicks):
    """User -> items in time order."""
    result = defaultdict(list)
    for user, item, _ in sorted(clicks, key=lambda click: click[2]):
        result[user].append(item)
    return result


def latest(names_with_first, share):
    names = sorted(names_with_first, key=names_with_first.get)
    return set(names[int(len(names) * (1 - share) + 1e-9) :])


def first_of(clicks, column):
    first = {}
    for click in clicks:
        first[click[column]] = min(first.get(click[column], click[2]), click[2])
    return first


def slow_strict(clicks, n_query=10, min_support=10, max_shots=10, share=0.2):
    """What the module's docstring says, without warm users (who are drawn by lot)."""
    new_users, new_items = latest(first_of(clicks, 0), share), latest(first_of(clicks, 1), share)
    result = {}
    shown = by_user(c for c in clicks if c[0] in new_users and c[1] not in new_items)
    support, query = [], []
    for user, items in shown.items():
        n = min(n_query, len(items) - min_support)
        if n >= 1:
            support += [(user, item) for item in items[:-n]]
            query += [(user, item) for item in items[-n:]]
    result["user_cold"] = (set(support), set(query))

    cold = sorted((c for c in clicks if c[0] not in new_users and c[1] in new_items), key=lambda c: c[2])
    of_item = defaultdict(list)
    for click in cold:
        of_item[click[1]].append(click)
    pool = {c[:2] for same in of_item.values() for c in same[: min(max_shots, len(same) // 2)]}
    rest = by_user(c for c in cold if c[:2] not in pool)
    result["item_cold"] = (pool, {(user, item) for user, items in rest.items() for item in items[-n_query:]})

    both = by_user(c for c in clicks if c[0] in new_users and c[1] in new_items)
    asked = {user: items[-n_query:] for user, items in both.items() if len(shown[user]) >= min_support}
    result["user_item_cold"] = (
        {(user, item) for user in asked for item in shown[user]},
        {(user, item) for user, items in asked.items() for item in items},
    )
    return new_users, new_items, result


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_slow_reading_of_the_rules(seed, build, some_clicks, ids):
    clicks = some_clicks(seed)
    dataset = build(clicks)
    cut = split(dataset, validation=False)
    new_users, new_items, expected = slow_strict(clicks)
    v = dataset.vocabulary
    assert set(v.users.ids(np.flatnonzero(~cut.known_users))) == new_users
    assert set(v.items.ids(np.flatnonzero(~cut.known_items))) == new_items
    for name, (support, query) in expected.items():
        assert query, "a test of nothing"
        assert set(ids(cut.scenarios[name].support, dataset)) == support
        assert set(ids(cut.scenarios[name].query, dataset)) == query
    old = {c[:2] for c in clicks if c[0] not in new_users and c[1] not in new_items}
    training, warm = set(ids(cut.pairs, dataset)), ids(cut.scenarios["warm"].query, dataset)
    assert training | set(warm) == old
    assert not training & set(warm)
    in_time = by_user(c for c in clicks if c[:2] in old)
    asked = by_user((u, i, t) for (u, i), t in zip(warm, range(len(warm)), strict=True))
    able = [user for user, items in in_time.items() if len(items) >= 11]
    assert len(asked) == round(0.1 * len(able))
    for user, items in asked.items():
        assert set(items) == set(in_time[user][-min(10, len(in_time[user]) - 10) :])


def test_tasks_ask_for_the_latest_training_pairs(timed, ids):
    cut = split(timed, validation=False)
    times = {(u, i): t for (u, i), t in zip(ids(timed.interactions, timed), timed.interactions.times_s.tolist(), strict=True)}
    training = by_user((u, i, times[u, i]) for u, i in ids(cut.pairs, timed))
    for user, items in training.items():
        n = min(10, len(items) - 10)
        row = timed.vocabulary.users.row(user)
        support = timed.vocabulary.items.ids(cut.tasks.support.items[cut.tasks.support.users == row])
        query = timed.vocabulary.items.ids(cut.tasks.query.items[cut.tasks.query.users == row])
        if n < 1:
            assert row not in cut.tasks.users
        else:
            assert support == items[:-n]
            assert query == items[-n:]


def assert_sound(cut, ids):
    """What holds for every strict split, ties or not."""
    data, v = cut.dataset, cut.dataset.vocabulary
    everything = ids(data.interactions, data)
    assert len(set(everything)) == len(everything)
    training = set(ids(cut.pairs, data))
    new_users = set(v.users.ids(np.flatnonzero(~cut.known_users)))
    new_items = set(v.items.ids(np.flatnonzero(~cut.known_items)))
    assert not {u for u, _ in training} & new_users
    assert not {i for _, i in training} & new_items
    for name, scenario in cut.scenarios.items():
        support, query = ids(scenario.support, data), ids(scenario.query, data)
        assert set(query) <= set(everything)
        assert set(support) <= set(everything)
        assert len(set(query)) == len(query)
        assert len(set(support)) == len(support)
        assert not set(query) & (set(support) | training)
        assert all((u in new_users) == (name in ("user_cold", "user_item_cold")) for u, _ in query)
        assert all((i in new_items) == (name in ("item_cold", "user_item_cold")) for _, i in query)
        asked = scenario.query.users
        assert np.bincount(asked).max() <= 10
        assert set(v.items.ids(scenario.candidates)) >= {i for _, i in query}
        if name in ("user_cold", "user_item_cold"):
            assert np.bincount(scenario.support.users, minlength=v.n_users)[np.unique(asked)].min() >= 10
        seen: list[set] = []
        for shots in (0, 1, 2, 5, 10, None):
            shown = ids(scenario.support if shots is None else scenario.revealed(shots), data)
            assert all(earlier <= set(shown) for earlier in seen)
            seen.append(set(shown))
            if shots is not None and scenario.shots_by == "user" and name != "warm":
                assert all(sum(u == user for u, _ in shown) == shots for user in {u for u, _ in query})
    view = cut.train.vocabulary
    assert not set(view.users.array.to_pylist()) & new_users
    assert not set(view.items.array.to_pylist()) & new_items
    assert set(ids(cut.train.interactions, cut.train)) == training


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_promises_hold(build, some_clicks, some_facts, ids, seed, ties, global_time):
    cut = split(build(some_clicks(seed, ties=ties), some_facts()), global_time=global_time, min_support=10, validation=False)
    assert_sound(cut, ids)


@pytest.mark.parametrize("ties", [False, True])
def test_promises_hold_for_validation(ties, build, some_clicks, some_facts, ids):
    dataset = build(some_clicks(5, ties=ties, users=100), some_facts())
    cut = split(dataset)
    inner = cut.validation
    assert_sound(inner, ids)
    assert inner.dataset.vocabulary == cut.train.vocabulary
    assert set(ids(inner.dataset.interactions, inner.dataset)) == set(ids(cut.pairs, dataset))
    assert {"user_cold", "item_cold"} <= set(inner.scenarios)
    first = first_of([(u, i, t) for (u, i), t in zip(ids(cut.pairs, dataset), cut.pairs.times_s.tolist(), strict=True)], 0)
    users = inner.dataset.vocabulary.users
    new = [first[user] for user in users.ids(np.flatnonzero(~inner.known_users))]
    old = [first[user] for user in users.ids(np.flatnonzero(inner.known_users)) if user in first]
    assert max(old) <= min(new)
    assert len(new) == len(first) - int(len(first) * 0.9 + 1e-9)


def signature(cut):
    """Everything a split decides, by ids, in order where order means something."""
    v = cut.dataset.vocabulary

    def named(pairs):
        return sorted(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))

    def revealed(scenario):
        return [named(scenario.revealed(k)) for k in (1, 2, 5, 10)]

    result = [named(cut.pairs), sorted(v.users.ids(np.flatnonzero(~cut.known_users)))]
    result += [named(cut.tasks.support), named(cut.tasks.query)]
    for name, s in sorted(cut.scenarios.items()):
        result += [name, named(s.query), named(s.support), revealed(s), sorted(v.items.ids(s.candidates))]
    return result + (signature(cut.validation) if cut.validation is not None else [])


@pytest.mark.parametrize("protocol", ["strict", "paper"])
@pytest.mark.parametrize("ties", [False, True])
def test_permuting_the_input_changes_nothing(protocol, ties, build, some_clicks, some_facts):
    clicks, facts = some_clicks(11, ties=ties, users=90), some_facts()
    expected = signature(split(build(clicks, facts), protocol))
    for order in (1, 2):
        assert signature(split(build(clicks, facts, order=order), protocol)) == expected


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_the_seed_decides(protocol, build, some_clicks):
    dataset = build(some_clicks(11, users=90))
    assert signature(split(dataset, protocol, seed=5)) == signature(split(dataset, protocol, seed=5))
    assert signature(split(dataset, protocol, seed=5)) != signature(split(dataset, protocol, seed=6))


def test_new_ids_and_what_only_they_lead_to_are_hidden(build, some_clicks, some_facts):
    facts = [fact for fact in some_facts() if fact[1] == "by"]
    cut = split(build(some_clicks(3), facts), validation=False)
    view, v = cut.train, cut.dataset.vocabulary
    new_items = set(v.items.ids(np.flatnonzero(~cut.known_items)))
    old_items = set(v.items.array.to_pylist()) - new_items
    by_old = {t for h, _, t in facts if h in old_items}
    by_new = {t for h, _, t in facts if h in new_items}
    assert by_new - by_old, "the data set should have an artist of new items only"
    assert {name for name in view.vocabulary.entities.array.to_pylist() if name.startswith("artist")} == by_old


def test_what_was_hidden_arrives(build, some_clicks, some_facts):
    cut = split(build(some_clicks(3), some_facts()), validation=False)
    v = cut.dataset.vocabulary
    for name in cut.scenarios:
        view = cut.train.extend(cut.support(name, shots=2))
        assert set(view.vocabulary.items.array.to_pylist()) == set(v.items.array.to_pylist())
        assert len(view.graph.entity) == len(cut.dataset.graph.entity)


def test_shots_of_an_item_are_its_first_clicks(build):
    # Six old users, each with one old item; i9 is new (first seen last) and clicked by four of them.
    clicks = [(f"u{k}", "i0", k) for k in range(6)] + [(f"u{k}", "i1", 10 + k) for k in range(6)]
    clicks += [(f"u{k}", "i9", 100 - k) for k in range(4)]
    clicks += [("new", "i0", 98), ("new", "i1", 99)]
    cut = split(build(clicks), new_items=0.3, new_users=0.1, min_support=1, validation=False)
    v, scenario = cut.dataset.vocabulary, cut.scenarios["item_cold"]
    assert v.items.ids(np.flatnonzero(~cut.known_items)) == ["i9"]
    assert len(scenario.revealed()) == 0
    assert v.users.ids(scenario.revealed(1).users) == ["u3"]
    assert v.users.ids(scenario.revealed(10).users) == ["u3", "u2"]  # half of the four clicks
    assert sorted(v.users.ids(scenario.query.users)) == ["u0", "u1"]


def test_global_time_learns_nothing_later_than_the_first_new_id(build, some_clicks, ids):
    early = [(u, i, t) for u, i, t in some_clicks(8, users=100) if int(u[1:]) < 80 and int(i[1:]) < 45]
    late = [(u, i, t + 10_000) for u, i, t in some_clicks(9, users=100) if (u, i) not in {c[:2] for c in early}]
    dataset = build(early + late)
    plain, guarded = (split(dataset, global_time=on, new_items=0.1, validation=False) for on in (False, True))
    cut_s = guarded.manifest["first_new_s"]
    times = dict(zip(ids(dataset.interactions, dataset), dataset.interactions.times_s.tolist(), strict=True))
    new = [t for (u, i), t in times.items() if _is_new(guarded, u, i)]
    assert cut_s == min(new)
    assert guarded.pairs.times_s.max() < cut_s <= plain.pairs.times_s.max()
    assert all(s.query.times_s.min() >= cut_s for s in guarded.scenarios.values())
    assert "warm" in guarded.scenarios
    assert set(ids(guarded.pairs, dataset)) < {pair for pair in times if times[pair] < cut_s} | {None}
    uic = guarded.scenarios.get("user_item_cold")
    if uic is not None:
        for user in uic.users:
            asked = uic.query.times_s[uic.query.users == user].min()
            assert uic.support.times_s[uic.support.users == user].max() < asked


def _is_new(cut, user, item):
    v = cut.dataset.vocabulary
    return not (cut.known_users[v.users.row(user)] and cut.known_items[v.items.row(item)])


def test_without_times_it_says_what_to_do(timed):
    bare = Dataset(timed.vocabulary, timed.interactions.pairs_only(), timed.graph)
    for protocol in ("strict", "paper"):
        with pytest.raises(DataError, match=r"interactions: found no times; expected a time for every pair\. Prepare"):
            split(bare, protocol)


def test_a_repeated_pair_is_refused(build):
    clicks = [("u0", "i0", 1), ("u1", "i1", 2), ("u0", "i0", 3)]
    with pytest.raises(DataError, match="found 1 repeated pairs, first user 'u0' with item 'i0'"):
        split(build(clicks))


def test_too_little_data_is_refused(build):
    with pytest.raises(DataError, match="the data: found too few users and items"):
        split(build([("u0", "i0", 1), ("u1", "i1", 2)]))


def test_a_validation_split_that_is_too_small_is_refused(build):
    # i3 and u4 are new. Without them u3 and i2 are the latest, and nobody else has clicked i2.
    few = {"new_users": 0.2, "new_items": 0.2}
    dataset = build([("u0", "i0", 0), ("u1", "i0", 1), ("u2", "i1", 2), ("u3", "i2", 3), ("u4", "i0", 4), ("u0", "i3", 5)])
    with pytest.raises(DataError, match="the training part, for validation: found too few"):
        split(dataset, **few)
    assert split(dataset, **few, validation=False).validation is None


def test_what_is_left_out_is_written_down(build, some_clicks):
    cut = split(build(some_clicks(3)), min_support=40, validation=False)
    assert set(cut.manifest["left_out"]) | set(cut.scenarios) == {"user_cold", "item_cold", "user_item_cold", "warm"}
    assert cut.manifest["left_out"]


def test_the_public_name_is_the_function(timed):
    assert signature(metakg.split(timed)) == signature(split(timed))


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"split\.new_user: found an unknown option; expected one of .*new_users"):
        split(None, new_user=0.1)


@pytest.mark.data
def test_ml_100k(real_data, build, ids):
    path = real_data / "ml-100k" / "ml-100k.inter"
    if not path.is_file():
        pytest.skip(f"no ml-100k at {path}")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    dataset = build([(user, item, int(time)) for user, item, _, time in rows])
    cut = split(dataset)
    assert_sound(cut, ids)
    assert_sound(cut.validation, ids)
    assert (~cut.known_users).sum() == 943 - int(943 * 0.8) == 189
    assert (~cut.known_items).sum() == 1682 - int(1682 * 0.8) == 337
    assert len(cut.scenarios["user_cold"].users) == 189
    assert len(cut.scenarios["user_item_cold"].users) == 173
    assert len(cut.scenarios["warm"].users) == 75
    assert set(cut.scenarios) == set(cut.validation.scenarios) == {"user_cold", "item_cold", "user_item_cold", "warm"}
    # What the module's docstring says of time.
    users, items, times = dataset.interactions.users, dataset.interactions.items, dataset.interactions.times_s
    assert np.mean(cut.pairs.times_s >= times[~cut.known_users[users]].min()) < 0.03
    assert 0.70 < np.mean(cut.pairs.times_s >= times[~cut.known_items[items]].min()) < 0.72
