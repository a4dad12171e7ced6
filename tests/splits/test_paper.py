"""The paper's rule from data with times, against a slow reading of it."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from metakg.errors import ConfigError
from metakg.splits import order, split


def new_ones(clicks, column, share):
    first = {}
    for click in clicks:
        first[click[column]] = min(first.get(click[column], click[2]), click[2])
    names = sorted(first, key=first.get)
    return set(names[int(len(names) * (1 - share) + 1e-9) :])


def corners(clicks, new_users, new_items):
    """Scenario -> user -> items."""
    result = {name: defaultdict(set) for name in ("user_cold", "item_cold", "user_item_cold", "old")}
    for user, item, _ in clicks:
        name = {(1, 0): "user_cold", (0, 1): "item_cold", (1, 1): "user_item_cold", (0, 0): "old"}
        result[name[user in new_users, item in new_items]][user].add(item)
    return result


RULE = {"rule.min_items": 6, "rule.max_items": 25, "rule.n_query": 3}
VALIDATION = {"validation_items": 0.4, "relaxed.min_items": 4}


def fits(items):
    return 6 <= len(items) <= 25


@pytest.fixture(scope="session")
def clicks(some_clicks):
    return some_clicks(21, users=120, items=60)


@pytest.fixture(scope="session")
def cut(build, clicks, some_facts):
    return split(build(clicks, some_facts(60, 120)), "paper", **RULE, **VALIDATION)


def grouped(pairs, dataset):
    v, result = dataset.vocabulary, defaultdict(set)
    for user, item in zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True):
        assert item not in result[user]
        result[user].add(item)
    return result


@pytest.mark.parametrize("name", ["user_cold", "item_cold", "user_item_cold"])
def test_scenarios_agree_with_a_slow_reading(cut, clicks, name):
    new_users, new_items = new_ones(clicks, 0, 0.2), new_ones(clicks, 1, 0.2)
    expected = {user: items for user, items in corners(clicks, new_users, new_items)[name].items() if fits(items)}
    assert expected
    support, query = (grouped(getattr(cut.scenarios[name], part), cut.dataset) for part in ("support", "query"))
    assert set(query) == set(expected)
    for user, items in expected.items():
        assert support[user] | query[user] == items
        assert len(query[user]) == 3
        assert not support[user] & query[user]
    assert cut.scenarios[name].shots_by == "user"
    assert cut.scenarios[name].manifest["rule"]["min_items"] == 6


def test_the_training_part_is_the_rest(cut, clicks):
    new_users, new_items = new_ones(clicks, 0, 0.2), new_ones(clicks, 1, 0.2)
    old = corners(clicks, new_users, new_items)["old"]
    old_users = {user for user, _, _ in clicks} - new_users
    warm_support, warm_query = (grouped(getattr(cut.scenarios["warm"], part), cut.dataset) for part in ("support", "query"))
    assert 0 < len(warm_query) <= round(0.1 * len(old_users))
    assert all(warm_support[user] | warm_query[user] == old[user] and fits(old[user]) for user in warm_query)
    training = grouped(cut.pairs, cut.dataset)
    assert training == {user: items for user, items in old.items() if user not in warm_query}
    task_support, task_query = grouped(cut.tasks.support, cut.dataset), grouped(cut.tasks.query, cut.dataset)
    with_task = {user for user in training if fits(training[user])}
    assert set(task_query) == set(task_support) == with_task
    assert all(task_support[user] | task_query[user] == training[user] for user in with_task)
    assert all(len(items) == 3 for items in task_query.values())
    assert set(training) - with_task, "there should be background pairs"


def test_background_pairs_can_be_left_out(build, clicks, cut):
    without = split(build(clicks), "paper", **RULE, background_old_pairs=False)
    with_task = set(grouped(without.tasks.query, without.dataset))
    assert set(grouped(without.pairs, without.dataset)) == with_task
    everything = grouped(cut.pairs, cut.dataset)
    assert grouped(without.pairs, without.dataset) == {user: everything[user] for user in with_task}


def test_everything_is_known(cut):
    assert cut.protocol == "paper"
    assert cut.known_users.all()
    assert cut.known_items.all()
    assert cut.train.vocabulary is cut.dataset.vocabulary
    assert len(cut.train.graph.entity) == len(cut.dataset.graph.entity)


def test_candidates_are_the_items_of_the_same_kind(cut):
    new_items = set()
    for name in ("item_cold", "user_item_cold"):
        s = cut.scenarios[name]
        new_items |= set(s.support.items.tolist()) | set(s.query.items.tolist())
    assert set(cut.scenarios["item_cold"].candidates.tolist()) == new_items
    assert set(cut.scenarios["user_item_cold"].candidates.tolist()) == new_items
    olds = set(cut.pairs.items.tolist())
    for name in ("user_cold", "warm"):
        olds |= set(cut.scenarios[name].support.items.tolist()) | set(cut.scenarios[name].query.items.tolist())
    assert set(cut.scenarios["user_cold"].candidates.tolist()) == olds
    assert not olds & new_items


def test_support_is_in_time_order(cut):
    for scenario in cut.scenarios.values():
        s = scenario.support
        same = s.users[1:] == s.users[:-1]
        assert (np.diff(s.times_s)[same] > 0).all()


def test_queries_are_drawn_by_lot_and_not_by_time(build, some_clicks):
    cut = split(build(some_clicks(2, users=300, items=60)), "paper", **RULE, validation=False)
    place = Counter()
    for user in cut.tasks.users.tolist():
        times = np.sort(cut.pairs.times_s[cut.pairs.users == user])
        asked = cut.tasks.query.times_s[cut.tasks.query.users == user]
        place.update((np.searchsorted(times, asked) * 3 // len(times)).tolist())  # which third of the user's life
    total = sum(place.values())
    assert total > 150
    assert all(0.25 < place[third] / total < 0.42 for third in range(3))


def test_validation_is_cut_from_the_training_part(cut, clicks):
    inner = cut.validation
    training = grouped(cut.pairs, cut.dataset)
    everything = defaultdict(set)
    parts = [inner.pairs, *(getattr(s, part) for s in inner.scenarios.values() for part in ("support", "query"))]
    for part in parts:
        for user, items in grouped(part, inner.dataset).items():
            assert not everything[user] & items
            everything[user] |= items
    assert all(items <= training[user] for user, items in everything.items())
    times = {(u, i): t for u, i, t in clicks}
    left = [(u, i, times[u, i]) for u, items in training.items() for i in items]
    new_users, new_items = new_ones(left, 0, 0.1), new_ones(left, 1, 0.4)
    assert set(grouped(inner.scenarios["user_cold"].query, inner.dataset)) <= new_users
    assert {i for items in grouped(inner.scenarios["item_cold"].query, inner.dataset).values() for i in items} <= new_items
    assert not set(grouped(inner.pairs, inner.dataset)) & new_users


def test_warm_users_of_the_validation_are_drawn_by_a_lot_of_their_own(build, some_clicks, monkeypatch):
    """Whoever the first lot drew and the rule sent back must not stand first again: he is unlike the others."""
    drawn, draw = [], order.draw

    def recording(*arguments):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(order, "draw", recording)
    cut = split(build(some_clicks(5, users=400, items=60)), "paper", warm_users=0.3, **RULE, **VALIDATION)
    first, second = drawn
    sent_back = first & (np.bincount(cut.pairs.users, minlength=400) > 0)
    assert sent_back.sum() > 30
    assert second[sent_back].mean() < 0.5, "three in ten are drawn, whoever they are"


def test_a_scenario_that_few_can_enter_is_cut_by_the_rule_scaled_down(build, clicks):
    cut = split(build(clicks), "paper", **{"rule.min_items": 13, "relaxed.min_items": 2, "relaxed.query_share": 0.5})
    relaxed = cut.validation.scenarios["item_cold"]
    assert relaxed.manifest["rule"] == {"min_items": 2, "max_items": 100, "n_query": 10, "query_share": 0.5}
    sizes = np.bincount(np.concatenate([relaxed.support.users, relaxed.query.users]))[relaxed.users]
    asked = np.bincount(relaxed.query.users)[relaxed.users]
    assert sizes.min() >= 2
    assert (asked == np.clip(sizes // 2, 1, 10)).all()
    # scenarios of the test are never relaxed
    assert all(s.manifest["rule"]["min_items"] == 13 for s in cut.scenarios.values())


def test_unknown_rules_are_refused():
    with pytest.raises(ConfigError, match=r"split\.rule\.min_item: found an unknown option; expected one of .*rule\.min_items"):
        split(None, "paper", **{"rule.min_item": 5})
    with pytest.raises(ConfigError, match="min_items 5 leaves no support beside 10 query items"):
        split(None, "paper", **{"rule.min_items": 5})
