"""Rows for what training never moved: what is around them, once, and never again in the place of what was trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from metakg.data import KnowledgeGraph, Support, TrainView, Triples
from metakg.errors import CheckpointError
from metakg.models.learnt import Learnt
from metakg.models.registry import MODELS, build, config_for
from metakg.testing import planted_split, toy_view
from metakg.train import baseline
from metakg.train.baseline import BaselineConfig, TaskConfig, train_baseline
from metakg.train.fit import TRAINING, settings_for
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


STAR = 10
"""The Unread Star: an item that nobody has clicked, two facts away from items that somebody has."""


def fitted(name: str, view: TrainView, settings: dict[str, Any], training: dict[str, Any] | None = None) -> Learnt:
    """Return a model after two epochs from random vectors."""
    config, how = settings_for(
        name, {"dim": 4, **settings, "training": {"start": "xavier", "loop": {"epochs": 2}, **(training or {})}}
    )
    model = build(config, view, seed=1)
    assert isinstance(model, Learnt)
    assert isinstance(how, BaselineConfig)
    train_baseline(model, how, 1)
    return model


@pytest.mark.parametrize(
    ("name", "settings", "training", "reached"),
    [
        ("fm", {}, {}, False),
        ("fm", {}, {"pool": "all"}, True),
        ("cke", {}, {}, True),
        ("kgcn", {"neighbours": 8, "hops": 1}, {}, False),
        ("kgcn", {"neighbours": 8, "hops": 2}, {}, True),
        ("ckan", {"user_memory": 100, "item_memory": 100, "layers": 1, "cap": None}, {}, False),
        ("ckan", {"user_memory": 100, "item_memory": 100, "layers": 2, "cap": None}, {}, True),
        ("kgat", {"dims": (4,)}, {}, True),
        ("melu", {"features": "kg+id"}, {}, False),
        ("metahin", {"features": "kg+id"}, {}, True),
    ],
)
def test_a_row_is_trained_if_a_step_moved_it(
    name: str, settings: dict[str, Any], training: dict[str, Any], reached: bool
) -> None:
    """And it is not given another start: by the rule `cold`, all rows that are cold stand at one vector here."""
    view = toy_view(tasks=name in ("melu", "metahin"))
    model = fitted(name, view, {"cold": "zero", **settings}, training)
    table = "node" if name == "kgat" else "entity"
    first = view.n_users if name == "kgat" else 0
    rows, trained = getattr(model, table).detach(), model.trained_rows(table)
    assert trained[first + STAR] == reached
    assert trained[first + np.unique(view.interactions.items)].all()
    assert torch.equal(rows.ne(0).any(1), trained)


def test_a_row_that_facts_name_and_no_step_reads_has_a_start() -> None:
    """ugrec learns from facts whose head is an item; an item that is nothing but a tail is cold."""
    view = toy_view()
    facts = view.graph.entity
    turned = facts.heads == STAR
    assert turned.any()
    heads, tails = np.where(turned, facts.tails, facts.heads), np.where(turned, facts.heads, facts.tails)
    graph = KnowledgeGraph(Triples(heads, facts.relations, tails), view.graph.user)
    for start in ("xavier", "bpr"):
        model = fitted("ugrec", TrainView(view.vocabulary, view.interactions, graph), {"cold": "mean"}, {"start": start})
        items = view.n_users + np.unique(view.interactions.items)
        for name in ("place", "turn"):
            table = getattr(model, name).detach()
            torch.testing.assert_close(table[view.n_users + STAR], table[items].mean(0))


@pytest.mark.parametrize("name", sorted(name for name in TRAINING if issubclass(MODELS[name], Learnt)))
def test_what_was_trained_stays_through_one_arrival_after_the_other(name: str) -> None:
    view = planted_split().train
    model = build(config_for(name, {"dim": 4, "cold": "mean"}), view, seed=1)
    assert isinstance(model, Learnt)
    model.begin()
    table = next(table for table, kind in model.rows.items() if kind in ("entity", "node"))
    first = view.n_users if model.rows[table] == "node" else 0
    chosen = torch.arange(0, view.n_entities, 3)
    with torch.no_grad():
        getattr(model, table)[first + chosen] *= 0.5
    ids = view.vocabulary.entities.ids(chosen.numpy().astype(np.int32))
    rows = getattr(model, table).detach()[first + chosen].clone()
    known = view.vocabulary.items.id(0)
    one = model.extend(Support.clicks(view.vocabulary.users.id(0), [known]))
    two = one.extend(Support.of(items={"n0": None}, facts=[("n0", view.vocabulary.relations.id(0), ids[-1])]))
    kept = two.from_tensors(two.config, two.view, torch.Generator(), two.tensors())
    three = kept.over(TrainView(two.view.vocabulary, two.view.interactions, two.view.graph))
    for later in (one, two, three.extend(Support.clicks("new", [known]))):
        assert isinstance(later, Learnt)
        places = torch.from_numpy(later.view.vocabulary.entities.rows(ids)).long()
        places += later.view.n_users if first else 0
        assert later.trained_rows(table)[places].all()
        assert torch.equal(getattr(later, table).detach()[places], rows)


def test_bundles_of_before_say_nothing_of_trained_rows() -> None:
    model = build(config_for("ripplenet", {"dim": 4}), toy_view(), seed=1)
    assert isinstance(model, Learnt)
    named = model.trained_rows("entity")
    model.begin()
    assert not model.trained_rows("entity").any()
    tensors = {name: tensor for name, tensor in model.tensors().items() if not name.startswith("trained.")}
    model.load_tensors({**tensors, "sets.met": named})
    assert torch.equal(model.trained_rows("entity"), named)
    with pytest.raises(CheckpointError, match="which rows were trained"):
        model.load_tensors({**tensors, "trained.entity": named[1:]})


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
