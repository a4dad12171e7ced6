"""Data without times: a split by lot keeps every promise but those about time, and `whole` takes all there is."""

from __future__ import annotations

import numpy as np
import pytest

import metakg
from metakg.comparison import identify
from metakg.data import Dataset, Interactions
from metakg.errors import ConfigError, DataError, LeakageError
from metakg.generator import PlantedConfig, planted


@pytest.fixture(scope="module")
def timeless() -> Dataset:
    data = planted(PlantedConfig(users=200, items=150, interactions=7000), seed=5).dataset
    return Dataset(data.vocabulary, data.interactions.pairs_only(), data.graph)


def names_of(data: Dataset, pairs: Interactions) -> set[tuple[str, str]]:
    v = data.vocabulary
    return set(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))


def test_lots_say_who_is_new_and_what_is_asked_for(timeless: Dataset) -> None:
    cut = metakg.split(timeless, arrival="lot", seed=4)
    pairs, v = timeless.interactions, timeless.vocabulary
    seen_users, seen_items = np.unique(pairs.users), np.unique(pairs.items)
    assert (~cut.known_users).sum() == round(0.2 * len(seen_users))
    assert (~cut.known_items).sum() == round(0.2 * len(seen_items))
    clicks = np.bincount(pairs.items, minlength=v.n_items)
    assert clicks[~cut.known_items].mean() > clicks.mean() / 2, "the new items are not those that hardly anybody clicked"
    assert set(cut.scenarios) == {"user_cold", "item_cold", "user_item_cold", "warm"}
    for part in (cut, cut.validation):
        for scenario in part.scenarios.values():
            assert scenario.support.times_s is None
            assert scenario.query.times_s is None
            assert not names_of(part.dataset, scenario.query) & names_of(part.dataset, part.pairs)
            assert not names_of(part.dataset, scenario.query) & names_of(part.dataset, scenario.support)
    cold = cut.scenarios["user_cold"]
    revealed = np.bincount(cold.support.users, minlength=v.n_users)
    assert (revealed[cold.users] >= 10).all()
    assert cut.pairs.times_s is None
    assert cut.manifest["first_new_s"] is None
    assert "by lot" in cold.manifest["rule"]


def test_the_seed_decides_and_the_order_of_the_rows_does_not(timeless: Dataset) -> None:
    pairs = timeless.interactions
    turned = Dataset(timeless.vocabulary, pairs.select(np.arange(len(pairs))[::-1].copy()), timeless.graph)
    one, other = (metakg.split(data, arrival="lot", seed=4) for data in (timeless, turned))
    for name, scenario in one.scenarios.items():
        assert names_of(timeless, scenario.query) == names_of(turned, other.scenarios[name].query)
    assert identify(one) != identify(metakg.split(timeless, arrival="lot", seed=5))


def test_lots_are_asked_for_by_name(timeless: Dataset) -> None:
    with pytest.raises(DataError, match=r'found no times; .*arrival="lot", "metakg split --set arrival=lot"'):
        metakg.split(timeless)
    with pytest.raises(ConfigError, match="global_time needs times"):
        metakg.split(timeless, arrival="lot", global_time=True)


def test_a_split_by_lot_is_kept_and_judged(timeless: Dataset, tmp_path) -> None:
    from metakg.splits import load, save

    timeless.save(tmp_path / "data")
    cut = metakg.split(Dataset.load(tmp_path / "data"), arrival="lot", seed=4)
    save(cut, tmp_path / "split", dataset_folder=tmp_path / "data")
    again = load(tmp_path / "split")
    assert identify(again) == identify(cut)
    rows = metakg.compare(again, ["popularity", "blend"]).rows
    assert {row["scenario"] for row in rows} == set(cut.scenarios)


@pytest.mark.parametrize("timed", [False, True])
def test_whole_is_all_of_the_data_with_tasks_and_no_split_judges_it(timeless: Dataset, timed: bool) -> None:
    data = planted(PlantedConfig(users=200, items=150, interactions=7000), seed=5).dataset if timed else timeless
    view = metakg.whole(data, seed=2)
    assert names_of(data, view.interactions) == names_of(data, data.interactions)
    assert view.vocabulary is data.vocabulary
    asked = names_of(data, view.tasks.query)
    assert asked
    assert not asked & names_of(data, view.tasks.support)
    if timed:
        pairs = data.interactions
        times = {(u, i): s for u, i, s in zip(pairs.users, pairs.items, pairs.times_s, strict=True)}
        for user in view.tasks.users[:20]:
            support, query = (p.select(p.users == user) for p in (view.tasks.support, view.tasks.query))
            before, after = ([times[user, item] for item in p.items] for p in (support, query))
            assert max(before) <= min(after)
    engine = metakg.fit("blend", view)
    with pytest.raises(LeakageError, match=r"Fit the model on `split\.train`"):
        metakg.evaluate(engine, metakg.split(data, **({} if timed else {"arrival": "lot"})))
