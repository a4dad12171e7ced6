"""Rows for what training never moved: what is around them, once, and never again in the place of what was trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from metakg.data import Support, TrainView
from metakg.models.registry import build, config_for
from metakg.testing import planted_split, toy_view
from metakg.train import baseline
from metakg.train.baseline import BaselineConfig, TaskConfig, train_baseline
from metakg.train.initialise import BprConfig
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
NEW = {"n0": "written_by e0, genre e3", "n1": "written_by e1, genre e4", "n2": ""}


def arrived() -> Support:
    """Three new items: like the first trilogy, like the second, and like nothing."""
    facts = [(item, *fact.split()) for item, told in NEW.items() for fact in told.split(", ") if fact]
    return Support.of(items=dict.fromkeys(NEW), facts=[(item, relation, entity) for item, relation, entity in facts])


@pytest.mark.parametrize(("name", "table", "settings"), [("mcrec", "item", {}), ("fm", "entity", {"features": "ui"})])
def test_a_new_item_with_a_row_of_its_own_starts_at_what_is_around_it(name: str, table: str, settings: dict[str, Any]) -> None:
    view = toy_view()
    model = build(config_for(name, {"dim": 8, **settings}), view, seed=1)
    new = model.extend(arrived())
    items = new.view.vocabulary.items
    rows = {item: getattr(new, table).detach()[items.row(item)] for item in (*NEW, *(f"i{n:02d}" for n in range(12)))}
    assert not torch.equal(rows["n0"], rows["n1"])
    close = torch.nn.functional.cosine_similarity
    theirs = (
        torch.stack([rows[f"i{n:02d}"] for n in (0, 1, 2)]).mean(0),
        torch.stack([rows[f"i{n:02d}"] for n in (3, 4, 5)]).mean(0),
    )
    assert float(close(rows["n0"], theirs[0], dim=0)) > float(close(rows["n0"], theirs[1], dim=0))
    assert float(close(rows["n1"], theirs[1], dim=0)) > float(close(rows["n1"], theirs[0], dim=0))
    mean = build(config_for(name, {"dim": 8, "cold": "mean", **settings}), view, seed=1).extend(arrived())
    found = getattr(mean, table).detach()
    assert torch.equal(found[items.row("n0")], found[items.row("n1")])


@pytest.mark.parametrize("name", ["ripplenet", "ckan"])
def test_what_was_trained_stays_through_one_arrival_after_the_other(name: str) -> None:
    """Sets that training drew and no later set holds are trained all the same."""
    small = {"ripplenet": {"memory": 1, "hops": 1}, "ckan": {"user_memory": 1, "item_memory": 1, "layers": 1}}
    view = planted_split().train
    model = build(config_for(name, {"dim": 4, "cold": "mean", **small[name]}), view, seed=1)
    for _ in range(30):
        model.on_epoch_start()
    trained = model.trained_rows("entity")
    ids = view.vocabulary.entities.ids(np.flatnonzero(trained).astype(np.int32))
    rows = model.entity.detach()[torch.from_numpy(trained)]
    known = view.vocabulary.items.id(0)
    first = model.extend(Support.clicks(view.vocabulary.users.id(0), [known]))
    second = first.extend(Support.of(items={"n0": None}, facts=[("n0", view.vocabulary.relations.id(0), ids[-1])]))
    third = second.over(TrainView(second.view.vocabulary, second.view.interactions, second.view.graph))
    for later in (first, second, third.extend(Support.clicks("new", [known]))):
        places = later.view.vocabulary.entities.rows(ids)
        assert later.trained_rows("entity")[places].all()
        assert torch.equal(later.entity.detach()[torch.from_numpy(places).long()], rows)


@pytest.mark.parametrize("name", ["melu", "metahin"])
def test_what_tasks_are_asked_for_does_not_start_their_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit_bpr = baseline.fit_bpr

    def recording(pairs: Any, *rest: Any, **more: Any) -> Any:
        seen.append(pairs)
        return fit_bpr(pairs, *rest, **more)

    monkeypatch.setattr(baseline, "fit_bpr", recording)
    view = toy_view(tasks=True)
    config = TaskConfig(start="bpr", bpr=BprConfig(epochs=1), loop=LoopConfig(epochs=1), batch_size=4)
    train_baseline(build(config_for(name, {"dim": 4}), view, seed=1), config, 1)
    asked = set(view.tasks.query.keys(view.n_items).tolist())
    assert len(seen) == 1
    assert not asked & set(seen[0].keys(view.n_items).tolist())
    assert len(seen[0]) == len(view.interactions) - len(asked)
    plain = BaselineConfig(bpr=BprConfig(epochs=1), loop=LoopConfig(epochs=1), batch_size=4)
    train_baseline(build(config_for("fm", {"dim": 4}), view, seed=1), plain, 1)
    assert len(seen[1]) == len(view.interactions)
