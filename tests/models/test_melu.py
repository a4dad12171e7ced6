"""MeLU: features and scores by hand, the step against finite differences and plain autograd, and whose clicks count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from metakg.data import KnowledgeGraph, Support, TrainView, Triples
from metakg.errors import CheckpointError, DataError
from metakg.models.melu import Melu, MeluConfig
from metakg.models.metapaths import Link
from metakg.models.nn.content import ItemContent
from metakg.models.nn.decision import Comparisons, Decision, rank, scores
from metakg.models.personal import Chosen, _blocks
from metakg.sample.episodes import Episodes, TaskBatch
from metakg.testing import LearntContract, planted_split, recall_at, toy_view
from metakg.train.baseline import TaskConfig, train_baseline
from metakg.train.loop import LoopConfig

AUTHOR, GENRE, SERIES, PLACE, INFLUENCE = range(5)


class TestMelu(LearntContract):
    config = MeluConfig(dim=16, hidden=32, features="kg+id", inner_steps=8, inner_lr=1.0, order="second")
    needs_facts = True
    training = TaskConfig(loop=LoopConfig(learning_rate=0.01, epochs=8))
    overfit = TaskConfig(batch_size=10, loop=LoopConfig(learning_rate=0.005, epochs=400, log_every=1000))


def build(view: TrainView, **settings: object) -> Melu:
    config = MeluConfig.model_validate({"dim": 3, "hidden": 4, "inner_steps": 1, **settings})
    return Melu(config, view, torch.Generator().manual_seed(3))


def batch() -> TaskBatch:
    """Two tasks of ann and ben, of two and one support pairs."""
    support = Episodes(*(torch.tensor(t) for t in ([0, 1], [0, 0, 1], [0, 1, 3], [4, 9, 7])))
    query = Episodes(*(torch.tensor(t) for t in ([0, 1], [0, 1, 1], [2, 4, 5], [8, 0, 10])))
    return TaskBatch(support, query)


# -- features ------------------------------------------------------------------------------------------------------------


def test_content_is_the_mean_of_what_facts_lead_to() -> None:
    """Item 3 is by Otto (13), a space opera (16), of a series (17); item 11 has no fact; Pearl's (14) books, read backwards."""
    view = toy_view()
    content = ItemContent(view, [Link(GENRE, False), Link(AUTHOR, False)], own=True, dim=2)
    entity, null = torch.arange(40.0).view(20, 2), torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    found = content(entity, null, torch.tensor([3, 11, 9]))
    genre, author, itself = found.view(3, 3, 2).unbind(1)
    assert genre.tolist() == [entity[16].tolist(), [-1, -2], [-1, -2]]
    assert author.tolist() == [entity[13].tolist(), [-3, -4], entity[14].tolist()]
    assert torch.equal(itself, entity[[3, 11, 9]])
    assert content.used(torch.tensor([3, 9])).tolist() == [3, 9, 13, 14, 16]
    influenced = ItemContent(view, [Link(INFLUENCE, True)], own=False, dim=2)
    assert torch.equal(influenced(entity, null[:1], torch.tensor([0])), null[:1]), "items influence nobody"


def test_several_ends_are_averaged() -> None:
    view = toy_view()
    facts = view.graph.entity
    twice = replace(facts, relations=np.where(facts.relations == GENRE, AUTHOR, facts.relations).astype(np.int32))
    content = ItemContent(replace(view, graph=KnowledgeGraph(twice, view.graph.user)), [Link(AUTHOR, False)], own=False, dim=2)
    entity = torch.randn(20, 2)
    torch.testing.assert_close(content(entity, entity[:1], torch.tensor([0]))[0], (entity[12] + entity[15]) / 2)


def test_items_of_one_kind_are_made_of_the_same() -> None:
    """By author and genre: 0, 1 and 2 are ghost stories by Mira; 3, 4, 5, 6 and 10 space operas by Otto; 11 is of no kind."""
    content = ItemContent(toy_view(), [Link(AUTHOR, False), Link(GENRE, False)], own=False, dim=2)
    groups = [sorted(np.flatnonzero(content.kind == kind).tolist()) for kind in range(len(content.first))]
    assert sorted(groups) == [[0, 1, 2], [3, 4, 5, 6, 10], [7], [8], [9], [11]]
    assert [content.kind[item] for item in content.first] == list(range(6))
    entity, null = torch.randn(20, 2), torch.randn(2, 2)
    every = content(entity, null, torch.arange(12))
    assert torch.equal(every, every[torch.from_numpy(content.first)][torch.from_numpy(content.kind)])
    alone = ItemContent(toy_view(), [Link(AUTHOR, False)], own=True, dim=2)
    assert alone.first.tolist() == list(range(12)), "with a vector of their own, all items differ"


def test_users_by_facts_need_some() -> None:
    view = toy_view()
    bare = TrainView(view.vocabulary, view.interactions, KnowledgeGraph(view.graph.entity, Triples.empty()))
    with pytest.raises(DataError, match="facts about users"):
        build(bare, user="facts")
    other = build(view, user="facts").over(bare)
    assert torch.isfinite(other.score_all(torch.arange(view.n_users))).all()


def test_what_users_are_made_of_is_regularised() -> None:
    model = build(toy_view(), user="facts")
    items = torch.tensor([0])
    of_items = model.content.used(items)
    assert model.used(np.array([0, 7]), items).tolist() == sorted({*of_items.tolist(), 18, 19})
    assert model.used(np.array([5]), items).tolist() == of_items.tolist()


def test_users_by_facts_and_by_activity() -> None:
    model = build(toy_view(), user="facts")
    learners = model.learners(np.array([0, 7, 2]), model.support_of(np.array([0, 7, 2])))
    of_users = model.of_users(learners)
    torch.testing.assert_close(of_users[0], model.entity[19])  # ann is 25 to 34
    torch.testing.assert_close(of_users[1], (model.entity[19] + model.entity[18]) / 2)  # hal too, and lives in Lisbon
    torch.testing.assert_close(of_users[2], model.user[0])

    model = build(toy_view(), user="activity")
    learners = model.learners(np.array([0, 7]), model.support_of(np.array([0, 7])))
    # ann has four clicks, on items of 3, 2, 2 and 3 users: log2(1 + 4) and log2(1 + 2.5), rounded down
    torch.testing.assert_close(
        model.of_users(learners), torch.stack([model.count[2] + model.liked[1], model.count[0] + model.liked[0]])
    )


def test_a_graph_without_relations_is_refused_with_what_to_do() -> None:
    view = replace(toy_view(tasks=True), graph=KnowledgeGraph.empty())
    with pytest.raises(DataError, match="features = 'id'"):
        build(view)
    assert build(view, features="id").content.width == 3
    with pytest.raises(DataError, match="wanted are 95%"):
        build(toy_view(), paths={"min_coverage": 0.95})


# -- the step ------------------------------------------------------------------------------------------------------------


def plain_loss(model: Melu, theta: list[Tensor], episodes: Episodes, task: int) -> Tensor:
    """The mean BPR loss of one task, pair by pair."""
    first, b1, w2, b2, out = theta

    def score(item: Tensor) -> Tensor:
        c = model.items(item[None])[0]
        return out @ torch.relu(w2 @ torch.relu(first @ torch.cat([c, model.user[0]]) + b1) + b2)

    own = (episodes.tasks == task).nonzero()[:, 0]
    margins = [score(episodes.positives[n]) - score(episodes.negatives[n]) for n in own]
    return -torch.nn.functional.logsigmoid(torch.stack(margins)).mean()


def test_the_first_order_gradient_is_that_of_two_passes_by_hand() -> None:
    """Per task: a step by plain autograd, then the query loss at the new weights; its gradient there counts as theta's."""
    model, tasks = build(toy_view(tasks=True), inner_lr=0.5, weight_decay=0.0), batch()
    model(tasks)["query"].backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    total = torch.zeros(())
    for task in range(2):
        steps = torch.autograd.grad(plain_loss(model, list(model.theta()), tasks.support, task), model.theta())
        theta = [t - 0.5 * step for t, step in zip(model.theta(), steps, strict=True)]
        total = total + plain_loss(model, theta, tasks.query, task) / 2
    total.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_what_no_clicked_item_lacks_is_not_noise_for_one_that_does() -> None:
    """All clicked items have an author once item 11, without facts, is clicked by nobody; few are of a series."""
    view = toy_view(tasks=True)
    tasks = view.tasks
    assert tasks is not None
    known = view.interactions.select(view.interactions.items != 11)
    parts = (part.select(part.items != 11) for part in (tasks.support, tasks.query))
    view = replace(view, interactions=known, tasks=replace(tasks, **dict(zip(("support", "query"), parts, strict=True))))
    chosen = Chosen((Link(AUTHOR, False), Link(SERIES, False)), (), 7)
    model = Melu(MeluConfig(dim=3, hidden=4), view, torch.Generator().manual_seed(3), chosen=chosen)
    series = model.null[1].clone()
    judged = model.extend(Support.clicks("zoe", ["i05"]))
    model.settle()
    assert torch.equal(judged.null, model.null), "while it trains it is judged as it will be"
    clicked = torch.from_numpy(np.unique(known.items).astype(np.int64))
    of_authors = model.items(clicked)[:, :3].mean(0)
    torch.testing.assert_close(model.null[0], of_authors)
    assert torch.equal(model.null[1], series), "learnt from those that lack it"
    torch.testing.assert_close(model.items(torch.tensor([11]))[0, :3], of_authors)


def test_without_a_step_all_users_share_the_weights() -> None:
    still = build(toy_view(tasks=True), inner_steps=0)
    decision = still.adapted(
        still.items(torch.arange(12)), still.learners(np.array([0, 1]), still.support_of(np.array([0, 1])))
    )
    assert torch.equal(decision.second[0], decision.second[1])


def test_a_step_lowers_the_support_loss_and_who_else_is_there_does_not_matter() -> None:
    model = build(toy_view(), inner_lr=0.5, draws=3)
    users = np.array([0, 1, 2, 4])
    together = model.learners(users, model.support_of(users))
    content = model.items(torch.arange(12)).detach()

    def losses(decision: Decision) -> Tensor:
        margin = [scores(content[p], decision) for p in (together.comparisons.positives, together.comparisons.negatives)]
        return (torch.nn.functional.softplus(margin[1] - margin[0])[:, 0] * together.comparisons.share).sum(1)

    adapted = model.adapted(content, together)
    still = Decision(*(part.detach() for part in build(toy_view(), inner_steps=0).adapted(content, together)))
    assert (losses(adapted) < losses(still)).all()
    turned = model.learners(users[::-1].copy(), model.support_of(users[::-1].copy()))
    for part, other in zip(adapted, model.adapted(content, turned), strict=True):
        torch.testing.assert_close(part.flip(0), other, rtol=1e-4, atol=1e-6)


# -- decision layers -----------------------------------------------------------------------------------------------------


def test_ranking_in_blocks_equals_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.models.nn.decision._ITEMS", 5)
    monkeypatch.setattr("metakg.models.nn.decision._CELLS", 2 * 4 * 5)
    rng = torch.Generator().manual_seed(0)
    shapes = ((3, 1, 4, 6), (3, 1, 4), (3, 1, 4, 4), (3, 1, 4), (3, 1, 4))
    d = Decision(*(torch.randn(shape, generator=rng) for shape in shapes))
    content = torch.randn(12, 6, generator=rng)
    torch.testing.assert_close(rank(content, d), scores(content.expand(3, -1, -1), d)[:, 0])


def test_padding_weighs_nothing() -> None:
    episodes = Episodes(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 2]), torch.tensor([5, 6, 7]), torch.tensor([8, 9, 4]))
    comparisons = Comparisons.of(episodes, episodes.positives, episodes.negatives)
    assert comparisons.positives.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert comparisons.share.tolist() == [[0.5, 0.5], [0, 0], [1, 0]]


def test_blocks_hold_every_user_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.models.personal._PAIRS", 12)
    sizes = np.array([0, 7, 3, 3, 20, 1, 0, 4])
    blocks = list(_blocks(sizes))
    assert sorted(np.concatenate(blocks).tolist()) == list(range(8))
    for block in blocks:
        assert len(block) == 1 or len(block) * max(1, sizes[block].max()) <= 12


# -- what is read --------------------------------------------------------------------------------------------------------


def test_new_clicks_are_the_support_and_history_stands_in() -> None:
    model = build(toy_view())
    new = model.extend(Support.clicks("ann", ["i09", "i00"])).extend(Support.clicks("zoe", ["i05"]))
    rows = new.view.vocabulary.users.rows(["ann", "ben", "zoe"]).astype(np.int64)
    supports = [sorted(row.indices.tolist()) for row in (new.support_of(rows)[[n]] for n in range(3))]
    assert supports == [[0, 9], [3, 4, 5, 6], [5]]
    everything = build(toy_view(), adapt_on="all").extend(Support.clicks("ann", ["i09"]))
    assert sorted(everything.support_of(rows[:1]).indices.tolist()) == [0, 1, 2, 7, 9]


def test_over_a_view_without_a_fact_and_a_click_it_is_as_if_they_had_not_been() -> None:
    """What an explanation takes away is gone from features, histories and draws, and the model itself keeps it."""
    model = build(toy_view(), user="facts").extend(Support.clicks("ann", ["i09"])).eval()
    view, facts = model.view, model.view.graph
    ann_nine = (view.interactions.users == 0) & (view.interactions.items == 9)
    otto = (facts.entity.heads == 3) & (facts.entity.tails == 13)
    without = TrainView(
        view.vocabulary,
        view.interactions.select(~ann_nine),
        KnowledgeGraph(facts.entity.select(~otto), facts.user.select(facts.user.heads != 0)),
    )
    before = model.score_all(torch.arange(8))
    other = model.over(without)
    assert sorted(other.support_of(np.array([0])).indices.tolist()) == [0, 1, 2, 7], "no new click left: the history"
    assert 13 not in other.content.used(torch.tensor([3]))
    assert not torch.allclose(other.score_all(torch.arange(8))[0], before[0])
    torch.testing.assert_close(
        other.score_all(torch.arange(2)),
        other.score_pairs(torch.arange(2), torch.arange(12).expand(2, -1)),
        rtol=1e-4,
        atol=1e-5,
    )
    assert torch.equal(model.score_all(torch.arange(8)), before)
    assert model.support_of(np.array([0])).indices.tolist() == [9]


def test_query_pairs_of_tasks_are_neither_adapted_on_nor_left_out_of_draws() -> None:
    view = toy_view(tasks=True)
    model = build(view)
    asked = view.tasks.query.csr(view.n_users, view.n_items)
    assert model.support_of(np.arange(8)).multiply(asked).nnz == 0
    assert not np.isin(view.tasks.query.keys(12), model.negatives.known).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"salt": torch.tensor([-1])}, "no salt"),
        ({"salt": None}, "no salt"),
        ({"recent": torch.tensor([[0, 12]], dtype=torch.int32)}, "outside the vocabulary"),
        ({"recent": torch.zeros(3, dtype=torch.int32)}, "no recent clicks"),
        ({"fields": torch.tensor([[0, 8, 0], [2, -1, -1]])}, "several relations"),
        ({"fields": torch.tensor([[99, -1, -1]])}, "no meta-paths of this vocabulary in 'fields'"),
        ({"paths": torch.tensor([[0, 2, -1]])}, "no meta-paths of this vocabulary in 'paths'"),
        ({"fields": torch.tensor([[0, -1, -1]])}, "size mismatch"),
    ],
)
def test_tensors_of_other_data_are_refused(changes: dict[str, Tensor | None], message: str) -> None:
    model = build(toy_view())
    before, tensors = model.score_all(torch.arange(8)), dict(model.tensors())
    for name, tensor in changes.items():
        tensors.pop(name)
        if tensor is not None:
            tensors[name] = tensor
    with pytest.raises(CheckpointError, match=message):
        model.load_tensors(tensors)
    assert torch.equal(model.score_all(torch.arange(8)), before)


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ValidationError, match="should be 'none'"):
        TaskConfig.model_validate({"adapt": {"mode": "finetune"}})


def test_items_made_of_facts_alone_are_learnt_too() -> None:
    """First order, no item vectors: the defaults, on planted data, against the same without a step."""
    split = planted_split()
    found = {}
    for steps in (0, 2):
        model = Melu(
            MeluConfig(dim=8, hidden=16, inner_steps=steps, inner_lr=1.0), split.train, torch.Generator().manual_seed(1)
        )
        how = TaskConfig(loop=LoopConfig(learning_rate=0.01, epochs=20))
        fitted = train_baseline(model, how, 1)[0].adapt(split.support("user_cold"))
        found[steps] = recall_at(fitted, split, "user_cold")
    assert found[2] > 1.1 * found[0], found
