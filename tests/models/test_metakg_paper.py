"""MetaKG against a slow implementation that follows the equations edge by edge, and against its own definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import metakg.models.metakg_paper as paper
from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, Tasks, TrainView, Triples, Vocabulary
from metakg.errors import CheckpointError, DataError
from metakg.models.base import Recommender
from metakg.models.metakg_paper import JointBatch, LayerWeights, MetaBatch, MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.nn.ckg import training_edges
from metakg.sample.episodes import Episodes, EpisodeSampler
from metakg.sample.pairs import PairBatch
from metakg.sample.triples import TripleBatch
from metakg.testing import ModelContract
from metakg.train.initialise import BprConfig
from metakg.train.loop import LoopConfig
from metakg.train.meta import MetaConfig, TaskBatches
from metakg.train.recipe import Recipe, train_metakg

EXACT = {"fan_out": None, "message_dropout": 0.0}


def build(view: TrainView, *, double: bool = True, scale: float = 2.0, **settings: object) -> MetaKG:
    config = MetaKGConfig(**{"dim": 4, "dims": (4, 4, 4), **EXACT, **settings})
    model = MetaKG(config, view, torch.Generator().manual_seed(3))
    with torch.no_grad():  # Xavier numbers are tiny; larger ones make every nonlinearity count
        for p in model.parameters():
            if p.requires_grad:
                p.mul_(scale)
    model = model.double() if double else model
    model.refresh()
    return model


def episodes(view: TrainView, model: MetaKG, tasks: tuple[int, ...] = (0, 1, 2)) -> tuple[Episodes, Episodes]:
    return EpisodeSampler(view, np.random.default_rng(0)).draw(np.array(tasks))


def facts(model: MetaKG) -> TripleBatch:
    """(u0, click, i0 | i7), (i0, r0, e8 | e11), (e8, r0 inverse, i1 | i6)"""
    u = model.graph.n_users
    return TripleBatch(*(torch.tensor(c) for c in ([0, u, u + 8], [0, 1, 3], [u, u + 8, u + 1], [u + 7, u + 11, u + 6])))


# -- a slow model, written from the equations ------------------------------------------------------------------------------


def triples_of(view: TrainView) -> set[tuple[int, int, int]]:
    """All edges of the training graph, both ways."""
    n_users, n_relations = view.n_users, view.n_relations
    query = set(zip(view.tasks.query.users.tolist(), view.tasks.query.items.tolist(), strict=True)) if view.tasks else set()
    found = set()
    for u, i in zip(view.interactions.users.tolist(), view.interactions.items.tolist(), strict=True):
        if (u, i) not in query:
            found |= {(u, 0, n_users + i), (n_users + i, 2 * n_relations + 1, u)}
    kg = view.graph.entity
    for h, r, t in zip(kg.heads.tolist(), kg.relations.tolist(), kg.tails.tolist(), strict=True):
        found |= {(n_users + h, r + 1, n_users + t), (n_users + t, r + 1 + n_relations, n_users + h)}
    return found


def slow_attention(model: MetaKG, e: Tensor, heard: list[tuple[int, int]], h: int) -> list[Tensor]:
    logits = []
    for r, t in heard:
        w = model.project[r]
        logits.append((w @ e[t]) @ torch.tanh(w @ e[h] + model.relation[r]))
    powers = [torch.exp(x) for x in logits]
    return [p / sum(powers) for p in powers]


def slow_layers(model: MetaKG, w: LayerWeights, task: int = 0) -> list[list[Tensor]]:
    """All layers of all nodes for the weights of one task: edge by edge, node by node."""

    def of(stack: Tensor) -> Tensor:
        return stack[task if stack.shape[0] > 1 else 0]

    e0 = [row + model.bias for row in model.node]
    layers, edges = [e0], triples_of(model.view)
    constant = torch.stack([v.detach() for v in e0])
    for layer in range(len(model.config.dims)):
        below, above = layers[-1], []
        for h in range(model.graph.n_nodes):
            messages = []
            for side in (True, False):
                heard = sorted((r, t) for head, r, t in edges if head == h and (t < model.graph.n_users) == side)
                shares = slow_attention(model, constant, heard, h)
                messages.append(sum(a.detach() * below[t] for a, (_, t) in zip(shares, heard, strict=True)) if heard else None)
            m_c, m_k = messages
            if m_c is None and m_k is None:
                m = torch.zeros_like(below[h])
            elif m_c is None or m_k is None:
                m = m_k if m_c is None else m_c
            else:
                g = torch.sigmoid(of(w.w_c[layer]) @ m_c + of(w.w_k[layer]) @ m_k)
                m = g * m_k + (1 - g) * m_c
            leaky = torch.nn.functional.leaky_relu
            above.append(leaky(of(w.w1[layer]) @ (below[h] + m)) + leaky(of(w.w2[layer]) @ (below[h] * m)))
        layers.append(above)
    return layers


def slow_losses(model: MetaKG, w: LayerWeights, episodes: Episodes) -> list[Tensor]:
    found = []
    for task in range(episodes.n_tasks):
        layers = slow_layers(model, w, task)
        z = [torch.cat([e / e.norm() for e in (layer[n] for layer in layers[1:])]) for n in range(model.graph.n_nodes)]
        user = z[int(episodes.users[task])]
        pairs = [
            (int(i), int(j))
            for k, i, j in zip(episodes.tasks, episodes.positives, episodes.negatives, strict=True)
            if int(k) == task
        ]
        items = z[model.graph.n_users :]
        terms = [-torch.log(torch.sigmoid(user @ items[i] - user @ items[j])) for i, j in pairs]
        found.append(sum(terms) / len(terms))
    return found


# -- the fast path is the slow one ----------------------------------------------------------------------------------------


def test_the_whole_graph_equals_the_equations(toy: TrainView) -> None:
    model = build(toy)
    slow = slow_layers(model, model.network.weights())
    for fast, plain in zip(model.encode().layers, slow, strict=True):
        torch.testing.assert_close(fast, torch.stack(plain).detach())


def test_attention_sums_to_one_over_each_neighbour_set(toy: TrainView) -> None:
    model = build(toy)
    cut = len(model.graph.collaborative)
    for edges, weights in zip(
        model.graph.sets, model.attention_weights[0].split([cut, model.graph.n_edges - cut]), strict=True
    ):
        total = torch.zeros(model.graph.n_nodes, dtype=weights.dtype).index_add(0, edges.heads, weights)
        heard = edges.edges.degrees > 0
        torch.testing.assert_close(total[heard], torch.ones(int(heard.sum()), dtype=weights.dtype))
        assert (weights > 0).all()


def test_a_node_that_hears_one_side_is_not_gated(toy: TrainView) -> None:
    model, other = build(toy), build(toy)
    with torch.no_grad():
        for gate in (*other.network.w_c, *other.network.w_k):
            gate.add_(1.0)
    first, second = model.encode().layers[1], other.encode().layers[1]
    gated = torch.zeros(model.graph.n_nodes, dtype=torch.bool)
    gated[model.graph.both] = True
    assert gated.any()
    assert torch.equal(first[~gated], second[~gated])
    assert not torch.isclose(first[gated], second[gated]).all(1).any()


def test_losses_and_gradients_of_tasks_equal_the_equations(toy: TrainView) -> None:
    model = build(toy)
    support, _ = episodes(toy, model)
    shared = model.network.weights()
    noise = torch.Generator().manual_seed(1)
    stacks = [t.detach() + 0.1 * torch.randn(3, *t.shape[1:], generator=noise, dtype=t.dtype) for t in shared.flat()]
    fast_w = [t.clone().requires_grad_() for t in stacks]
    slow_w = [t.clone().requires_grad_() for t in stacks]
    fast = model.task_losses(model.tables(tracked=False), support, shared.of(tuple(fast_w)))
    slow = torch.stack(slow_losses(model, shared.of(tuple(slow_w)), support))
    torch.testing.assert_close(fast, slow)
    for a, b in zip(torch.autograd.grad(fast.sum(), fast_w), torch.autograd.grad(slow.sum(), slow_w), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("settings", [{}, {"attention_level": "per_layer"}, {"gate_empty": "literal"}, {"outer": "joint"}])
@pytest.mark.parametrize("steps", [1, 2])
def test_hubs_worked_out_as_a_whole_change_nothing(
    toy: TrainView, monkeypatch: pytest.MonkeyPatch, settings: dict, steps: int
) -> None:
    found = []
    for least in (2, 1 << 62):
        monkeypatch.setattr(paper, "HUB_DEGREE", least)
        model = build(toy, inner_lr=0.5, inner_steps=steps, weight_decay=0.0, **settings)
        support, query = episodes(toy, model)
        tables = model.tables(tracked=False)
        assert bool(model._episode_field(tables, support).hubs) == (least == 2)
        scores = model.score_tasks(tables, support, query)
        model(MetaBatch(support, query, None))["query"].backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([scores.loss, scores.similarity, *scores.adapted.flat(), *gradients])
    assert len(found[0]) == len(found[1])
    for whole, rows in zip(*found, strict=True):
        torch.testing.assert_close(whole, rows)


@pytest.mark.parametrize(
    "settings", [{"order": "second"}, {"inner": "both"}, {"normalise": "everywhere"}, {"edge_dropout": 0.5}, {"fan_out": 3}]
)
def test_hubs_are_rows_where_the_shortcut_would_not_hold(
    toy: TrainView, monkeypatch: pytest.MonkeyPatch, settings: dict
) -> None:
    monkeypatch.setattr(paper, "HUB_DEGREE", 2)
    model = build(toy, **settings)
    assert not model._episode_field(model.tables(tracked=False), episodes(toy, model)[0]).hubs


def test_first_order_step_equals_two_passes_by_hand(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.0)
    support, query = episodes(toy, model)
    terms = model(MetaBatch(support, query, None))
    terms["query"].backward()
    expected = [torch.zeros_like(t) for t in model.network.weights().flat()]
    slow, losses = model.network.weights(), []
    for task in range(3):
        one, judged = support.select(torch.tensor([task])), query.select(torch.tensor([task]))
        start = [t.detach().clone().requires_grad_() for t in slow.flat()]
        steps = torch.autograd.grad(slow_losses(model, slow.of(tuple(start)), one)[0], start[:6])
        moved = [t.detach() - 0.01 * s for t, s in zip(start[:6], steps, strict=True)] + [t.detach() for t in start[6:]]
        moved = [t.requires_grad_() for t in moved]
        loss = slow_losses(model, slow.of(tuple(moved)), judged)[0]
        losses.append(loss.detach())
        for total, g in zip(expected, torch.autograd.grad(loss, moved), strict=True):
            total += g / 3
    torch.testing.assert_close(terms["query"].detach(), torch.stack(losses).mean())
    for p, g in zip(model.network.weights().flat(), expected, strict=True):
        torch.testing.assert_close(p.grad, g)


@pytest.mark.parametrize("inner", ["gamma", "both"])
def test_second_order_gradient_equals_finite_differences(toy: TrainView, inner: str) -> None:
    model = build(toy, order="second", inner=inner, inner_lr=0.5, inner_steps=2, outer="joint")
    support, query = episodes(toy, model)
    batch = MetaBatch(support, query, None)
    model(batch)["query"].backward()
    for p, place in ((model.network.w1[0], (0, 1, 2)), (model.network.w_c[1], (0, 0, 3)), (model.node, (7, 1))):
        step, values = 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                p[place] += sign * step
            values.append(float(model(batch)["query"].detach()))
            with torch.no_grad():
                p[place] -= sign * step
        assert float(p.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-9)


def test_joint_gradients_equal_finite_differences_through_the_attention(toy: TrainView) -> None:
    model = build(toy, outer="joint", attention_grad=True, weight_decay=0.0)
    pairs = PairBatch(torch.tensor([0, 3]), torch.tensor([0, 4]), torch.tensor([5, 7]))
    batch = JointBatch(pairs, facts(model))
    sum(model(batch).values()).backward()
    for p, place in ((model.project, (1, 0, 2)), (model.node, (6, 3)), (model.relation, (0, 1)), (model.bias, (2,))):
        step, values = 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                p[place] += sign * step
            values.append(float(sum(model(batch).values()).detach()))
            with torch.no_grad():
                p[place] -= sign * step
        assert float(p.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-9)


def test_known_steps_give_the_same_gradient_as_fresh_ones(toy: TrainView) -> None:
    gradients = []
    for given in (False, True):
        model = build(toy)
        support, query = episodes(toy, model)
        tables = model.tables(tracked=False)
        adapted = model.score_tasks(tables, support, query).adapted if given else None
        model(MetaBatch(support, query, None, adapted, tables if given else None))["query"].backward()
        gradients.append([p.grad.clone() for p in model.network.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-15)


def test_scores_of_tasks_follow_their_definition(toy: TrainView) -> None:
    model = build(toy)
    support, query = episodes(toy, model)
    scores = model.score_tasks(model.tables(tracked=False), support, query)
    for task in range(3):
        one, judged = support.select(torch.tensor([task])), query.select(torch.tensor([task]))
        slow = model.network.weights()
        start = [t.detach().clone().requires_grad_() for t in slow.flat()]
        g_s = torch.autograd.grad(slow_losses(model, slow.of(tuple(start)), one)[0], start[:6])
        moved = [t.detach() - 0.01 * s for t, s in zip(start[:6], g_s, strict=True)]
        moved = [t.requires_grad_() for t in moved]
        loss = slow_losses(model, slow.of((*moved, *start[6:])), judged)[0]
        g_q = torch.autograd.grad(loss, moved)
        a, b = (torch.cat([g.reshape(-1) for g in side]) for side in (g_s, g_q))
        torch.testing.assert_close(scores.loss[task], loss.detach())
        torch.testing.assert_close(scores.similarity[task], a @ b / (a.norm() * b.norm()))


def test_gradients_may_be_compared_by_their_product_in_all_weights(toy: TrainView) -> None:
    model = build(toy)
    support, query = episodes(toy, model)
    tables = model.tables(tracked=False)
    scores, plain = model.score_tasks(tables, support, query, whole=True), model.score_tasks(tables, support, query)
    torch.testing.assert_close(scores.loss, plain.loss)
    for task in range(3):
        one, judged = support.select(torch.tensor([task])), query.select(torch.tensor([task]))
        slow = model.network.weights()
        start = [t.detach().clone().requires_grad_() for t in slow.flat()]
        g_s = torch.autograd.grad(slow_losses(model, slow.of(tuple(start)), one)[0], start)
        adapted = [t.detach().requires_grad_() for t in plain.adapted.flat()]
        own = [t[task : task + 1].detach().requires_grad_() if len(t) > 1 else t for t in adapted]
        g_q = torch.autograd.grad(slow_losses(model, slow.of(tuple(own)), judged)[0], own)
        product = sum((a * b).sum() for a, b in zip(g_s, g_q, strict=True))
        torch.testing.assert_close(scores.similarity[task], product)


def test_the_inner_step_lowers_the_support_loss(toy: TrainView) -> None:
    model = build(toy, inner_lr=0.1)
    support, _ = episodes(toy, model)
    tables = model.tables(tracked=False)
    before = model.task_losses(tables, support, model.network.weights())
    after = model.task_losses(tables, support, model.adapt_tasks(tables, support))
    assert (after < before).all()


# -- symmetries -----------------------------------------------------------------------------------------------------------


def test_permuting_tasks_permutes_what_they_learn(toy: TrainView) -> None:
    model = build(toy)
    order = torch.tensor([2, 0, 1])
    support, _ = episodes(toy, model)
    tables = model.tables(tracked=False)
    one_by_one = [support.select(torch.tensor([int(k)])) for k in order]
    users = torch.cat([e.users for e in one_by_one])
    tasks = torch.cat([e.tasks + k for k, e in enumerate(one_by_one)])
    columns = (torch.cat([getattr(e, name) for e in one_by_one]) for name in ("positives", "negatives"))
    permuted = model.adapt_tasks(tables, Episodes(users, tasks, *columns))
    for a, b in zip(model.adapt_tasks(tables, support).flat(), permuted.flat(), strict=True):
        torch.testing.assert_close(a[order] if a.shape[0] == 3 else a, b)


def test_permuting_ids_permutes_the_scores(toy: TrainView) -> None:
    model = build(toy)
    rng = np.random.default_rng(5)
    user, item, relation = (rng.permutation(n).astype(np.int32) for n in (6, 8, 2))
    entity = np.concatenate([item, 8 + rng.permutation(5)]).astype(np.int32)  # old row -> new row

    def moved(p: Interactions) -> Interactions:
        return Interactions(user[p.users], item[p.items])

    kg = toy.graph.entity
    view = TrainView(
        toy.vocabulary,
        moved(toy.interactions),
        KnowledgeGraph(Triples(entity[kg.heads], relation[kg.relations], entity[kg.tails]), Triples.empty()),
        Tasks(user[toy.tasks.users], moved(toy.tasks.support), moved(toy.tasks.query)),
    )
    other = build(view)
    with torch.no_grad():
        nodes = np.concatenate([user, 6 + entity])
        types = np.concatenate([[0], 1 + relation, 3 + relation, [5]])
        other.node[torch.from_numpy(nodes)] = model.node
        other.relation[torch.from_numpy(types)] = model.relation
        other.project[torch.from_numpy(types)] = model.project
        other.network.load_state_dict(model.network.state_dict())
    other.refresh()
    everyone = torch.arange(6)
    expected = model.score_all(everyone)
    found = other.score_all(torch.from_numpy(user)[everyone])
    torch.testing.assert_close(found[:, torch.from_numpy(item).long()], expected)


def test_single_and_double_precision_agree(toy: TrainView) -> None:
    single, double = build(toy, double=False), build(toy)
    everyone = torch.arange(6)
    torch.testing.assert_close(single.score_all(everyone).double(), double.score_all(everyone), rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_equals_its_row_of_a_larger_batch(toy: TrainView) -> None:
    model = build(toy)
    support, query = episodes(toy, model)
    tables = model.tables(tracked=False)
    many = model.score_tasks(tables, support, query)
    for task in range(3):
        only = torch.tensor([task])
        one = model.score_tasks(tables, support.select(only), query.select(only))
        torch.testing.assert_close(one.loss, many.loss[only])
        torch.testing.assert_close(one.adapted.w1[0], many.adapted.w1[0][only])
        given = MetaBatch(support.select(only), query.select(only), None, one.adapted, tables)
        torch.testing.assert_close(model(given)["query"].detach(), many.loss[task])
    torch.testing.assert_close(model.score_all(torch.tensor([1])), model.score_all(torch.arange(3))[1:2])
    items = torch.tensor([[2, 0, 7]])
    torch.testing.assert_close(model.score_pairs(torch.tensor([1]), items), model.score_all(torch.tensor([1]))[:, items[0]])


# -- what may be an edge, what may learn ----------------------------------------------------------------------------------


def test_no_query_pair_is_an_edge_while_training(toy: TrainView) -> None:
    edges = training_edges(toy)
    assert not np.isin(edges.keys(8), toy.tasks.query.keys(8)).any()
    assert len(edges) == len(toy.interactions) - len(toy.tasks.query)
    graph = build(toy).graph
    clicks = {
        (int(h), int(t) - 6)
        for h, r, t in zip(graph.knowledge.heads, graph.knowledge.relations, graph.knowledge.tails, strict=True)
        if r == 0
    }
    assert clicks == set(zip(edges.users.tolist(), edges.items.tolist(), strict=True))


def test_changing_the_query_changes_no_input(toy: TrainView) -> None:
    seen = Interactions.concat(toy.tasks.support, toy.interactions.select(np.arange(11, 16)))
    query = Interactions(np.array([0, 1, 2], np.int32), np.array([7, 7, 7], np.int32))
    other = replace(toy, interactions=Interactions.concat(seen, query), tasks=replace(toy.tasks, query=query))
    everyone = torch.arange(6)
    assert torch.equal(build(other).score_all(everyone), build(toy).score_all(everyone))


@pytest.mark.parametrize(
    ("outer", "moves", "stays"),
    [
        ("gate_fix", {"network.w1", "network.w2", "network.w_c", "network.w_k", "node", "relation", "project"}, {"bias"}),
        ("literal", {"network.w1", "network.w2", "node", "relation", "project"}, {"network.w_c", "network.w_k", "bias"}),
        ("joint", {"network.w1", "network.w2", "network.w_c", "network.w_k", "node", "relation", "project", "bias"}, set()),
    ],
)
def test_each_loss_teaches_its_own_parameters(toy: TrainView, outer: str, moves: set[str], stays: set[str]) -> None:
    model = build(toy, outer=outer)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    support, query = episodes(toy, model)
    sum(model(MetaBatch(support, query, facts(model))).values()).backward()
    optimizer.step()
    for name, p in model.named_parameters():
        group = name.rsplit(".", 1)[0] if name[-1].isdigit() else name
        assert torch.equal(p, before[name]) == (group in stays), name
        assert (group in moves) != (group in stays)


def test_scope_of_phi_is_the_facts_alone(toy: TrainView) -> None:
    model = build(toy)
    support, query = episodes(toy, model)
    model(MetaBatch(support, query, None))["query"].backward()
    assert model.node.grad is None
    assert model.project.grad is None


VARIANTS = [
    {"order": "second"},
    {"inner": "gate"},
    {"inner": "both", "order": "second"},
    {"inner_layers": "last"},
    {"inner_steps": 0},
    {"inner_steps": 3},
    {"attention_level": "per_layer"},
    {"attention_grad": True, "outer": "joint"},
    {"gate_empty": "literal"},
    {"gate_shared": True},
    {"normalise": "none"},
    {"normalise": "everywhere"},
    {"dims": (6, 3, 2)},
    {"dims": (4,)},
    {"readout": "concat0"},
    {"readout": "sum0"},
    {"readout": "concat0", "normalise": "readout0"},
    {"node_form": "projection", "outer": "joint"},
    {"facts": "kg"},
    {"kg_weight": 0.0},
    {"fan_out": 2},
    {"fan_out": 1},
    {"message_dropout": 0.5, "edge_dropout": 0.5},
]


@pytest.mark.parametrize(
    ("readout", "normalise", "expected"),
    [
        ("concat", "none", [0, 2, 5, 12]),
        ("concat", "readout", [0, 1, 5 / 13, 12 / 13]),
        ("concat0", "none", [3, 4, 0, 2, 5, 12]),
        ("concat0", "readout", [3, 4, 0, 1, 5 / 13, 12 / 13]),
        ("concat0", "readout0", [0.6, 0.8, 0, 1, 5 / 13, 12 / 13]),
        ("sum0", "readout", [3 + 5 / 13, 5 + 12 / 13]),
        ("sum0", "readout0", [0.6 + 5 / 13, 1.8 + 12 / 13]),
    ],
)
def test_the_readout_is_what_its_settings_say(toy: TrainView, readout: str, normalise: str, expected: list[float]) -> None:
    model = build(toy, dim=2, dims=(2, 2), readout=readout, normalise=normalise)
    layers = [torch.tensor([row], dtype=torch.float64) for row in ([3, 4], [0, 2], [5, 12])]
    assert model.network.read_out(layers)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()))
def test_every_variant_learns_and_scores(toy: TrainView, settings: dict) -> None:
    model = build(toy, double=False, scale=1.0, **settings).train()
    support, query = episodes(toy, model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        terms = model(MetaBatch(support, query, facts(model)))
        assert all(torch.isfinite(t) and t.ndim == 0 for t in terms.values())
        total = sum(terms.values())
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    model.refresh()
    assert torch.isfinite(model.eval().score_all(torch.arange(6))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention_grad": True}, "attention_grad needs outer"),
        ({"gate_shared": True, "dims": (3, 4)}, "equal widths"),
        ({"readout": "sum0", "dims": (4, 3)}, "equal widths"),
        ({"gate_shared": True, "inner": "gate"}, "drift apart"),
        ({"dims": ()}, "at least 1 item"),
        ({"learning_rat": 1}, "Extra inputs"),
        ({"inner_lr": 0}, "greater than 0"),
        ({"normalise": "readout0"}, "needs a readout with layer 0"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MetaKGConfig(**{"dim": 4, "dims": (4, 4), **settings})


# -- what arrives later ---------------------------------------------------------------------------------------------------


def strings(*names: str) -> pa.Array:
    return pa.array(list(names), pa.string())


def arrivals() -> Support:
    return Support(
        users=strings("new", "u5", "u0"),
        items=strings("i0", "fresh", "i7"),
        arrivals=pa.table({"item": strings("fresh"), "entity": strings("E-fresh"), "label": strings("Fresh")}),
        triples=pa.table(
            {
                "head": strings("E-fresh", "E-fresh", "later"),
                "relation": strings("r0", "since", "r0"),
                "tail": strings("e8", "later", "e9"),
            }
        ),
    )


def test_new_users_items_entities_and_relations_get_rows(toy: TrainView) -> None:
    model = build(toy)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    new = model.extend(arrivals())
    v = new.view.vocabulary
    assert (v.n_users, v.n_items, v.n_entities, v.n_relations) == (7, 9, 15, 3)
    trained_users = model.node[:5].detach().mean(0)  # u5 never had an edge, so it counts as new
    torch.testing.assert_close(new.node[v.users.row("new")], trained_users)
    torch.testing.assert_close(new.node[v.users.row("u5")], trained_users)
    for name in ("e3", "e8", "e11"):
        assert torch.equal(new.node[7 + v.entities.row(name)], model.node[6 + toy.vocabulary.entities.row(name)])
    e8, e9 = (model.node[6 + toy.vocabulary.entities.row(name)] for name in ("e8", "e9"))
    torch.testing.assert_close(new.node[7 + v.entities.row("E-fresh")], e8)
    torch.testing.assert_close(new.node[7 + v.entities.row("later")], e9)
    torch.testing.assert_close(new.node[7 + v.entities.row("e12")], model.node[6:18].mean(0), msg="isolated: the mean")
    torch.testing.assert_close(new.relation[3], model.relation[1:3].mean(0))
    torch.testing.assert_close(new.relation[[0, 1, 2, 4, 5, 7]], model.relation)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the old model moved"


def test_adapting_changes_scores_of_the_user_and_nothing_of_the_old_model(toy: TrainView) -> None:
    model = build(toy).eval()
    old = model.score_all(torch.arange(6))
    new = model.adapt(arrivals())
    assert new.vectors is not None
    scores = new.score_all(torch.arange(7))
    assert scores.shape == (7, 9)
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(model.score_all(torch.arange(6)), old, rtol=0, atol=0)
    torch.testing.assert_close(new.encode().final, new.vectors.final)


def test_former_query_pairs_become_edges_after_adaptation(toy: TrainView) -> None:
    new = build(toy).extend(Support.clicks("u5", ["i1"]))
    assert len(new.edges) == len(toy.interactions) + 1
    only = build(toy, adapt_graph="support").extend(Support.clicks("u5", ["i1"]))
    assert (only.edges.users.tolist(), only.edges.items.tolist()) == ([5], [1])


@pytest.mark.parametrize("graph", ["all", "support"])
def test_trained_rows_stay_through_one_arrival_after_the_other(toy: TrainView, graph: str) -> None:
    """Also where the graph of an adaptation holds nothing but its support; who came without a step is placed anew."""
    model = build(toy, adapt_graph=graph, cold_users="neighbours")
    one = model.extend(Support.clicks("new", ["i0"]))
    first = one.extend(Support.clicks("new", ["i3"]))
    kept = type(first).from_tensors(first.config, first.view, torch.Generator(), first.tensors())
    for later in (one, first, kept):
        torch.testing.assert_close(later.node[:5].to(model.node), model.node[:5])
        torch.testing.assert_close(later.node[7:15].to(model.node), model.node[6:14])
    clicked = model.node[[6, 9] if graph == "all" else [9]].detach().mean(0)
    torch.testing.assert_close(first.node[6], clicked)


def test_new_users_can_start_from_their_items(toy: TrainView) -> None:
    model = build(toy, cold_users="neighbours")
    new = model.extend(Support.clicks("new", ["i0", "i3"]))
    torch.testing.assert_close(new.node[6], (model.node[6] + model.node[9]).detach() / 2)


def test_tensors_rebuild_an_equal_recommender(toy: TrainView) -> None:
    model = build(toy, double=False).extend(arrivals()).eval().ready()
    bare = TrainView(model.view.vocabulary, model.view.interactions, model.view.graph)
    other = MetaKG(model.config, bare, torch.Generator().manual_seed(9))
    other.load_tensors(model.tensors())
    everyone = torch.arange(7)
    assert torch.equal(other.score_all(everyone), model.score_all(everyone))
    with pytest.raises(CheckpointError, match="no edges"):
        other.load_tensors({"node": model.node})
    with pytest.raises(CheckpointError, match="outside the vocabulary"):
        other.load_tensors(model.tensors() | {"edge_items": torch.full((len(model.edges),), 99, dtype=torch.int32)})


# -- odd input ------------------------------------------------------------------------------------------------------------


def test_nodes_without_neighbours_are_finite(toy: TrainView) -> None:
    model = build(toy)
    assert model.graph.isolated().nonzero().squeeze(1).tolist() == [5, 18]  # user 5, entity 12
    assert torch.isfinite(model.score_all(torch.arange(6))).all()
    alone = model.node[18].detach() + model.bias.detach()  # no message: e' = LeakyReLU(W_1 e) + 0
    expected = torch.nn.functional.leaky_relu(model.network.w1[0][0].detach() @ alone)
    torch.testing.assert_close(model.encode().layers[1][18], expected)


def test_a_fact_given_twice_is_one_edge_and_two_relations_are_two(toy: TrainView) -> None:
    graph = build(toy).graph
    between = [
        int(r)
        for h, r, t in zip(graph.knowledge.heads, graph.knowledge.relations, graph.knowledge.tails, strict=True)
        if (int(h), int(t)) == (6, 14)
    ]
    assert between == [1, 2]


def test_relations_stay_in_their_ranges(toy: TrainView) -> None:
    graph, n_users = build(toy).graph, 6
    for edges in graph.sets:
        for h, r, t in zip(edges.heads.tolist(), edges.relations.tolist(), edges.tails.tolist(), strict=True):
            assert 0 <= r < graph.n_relations == 6
            assert (h < n_users) == (r == 0)
            assert (t < n_users) == (r == 5)


def test_training_without_tasks_or_edges_is_refused(toy: TrainView) -> None:
    with pytest.raises(DataError, match="no meta-training tasks"):
        EpisodeSampler(replace(toy, tasks=None), np.random.default_rng(0))
    empty = replace(toy, interactions=toy.tasks.query)
    with pytest.raises(DataError, match="no pair that may be an edge"):
        build(empty)


def test_a_vocabulary_with_users_facts_links_users_to_entities(toy: TrainView) -> None:
    about = Triples(*(np.array([x], np.int32) for x in (5, 1, 12)))
    view = replace(toy, graph=KnowledgeGraph(toy.graph.entity, about))
    model = build(view)
    assert not model.graph.isolated().any()
    assert torch.isfinite(model.score_all(torch.tensor([5]))).all()


def test_a_graph_without_facts_still_works() -> None:
    ids = {kind: IdMap([f"{kind}{n}" for n in range(3)], kind=kind) for kind in ("users", "items", "entities")}
    pairs = Interactions(np.array([0, 1], np.int32), np.array([0, 1], np.int32))
    view = TrainView(Vocabulary(**ids, relations=IdMap([])), pairs, KnowledgeGraph.empty())
    assert torch.isfinite(build(view).score_all(torch.arange(3))).all()


class TestContract(ModelContract):
    """What every model promises, for the network read with layer 0, learnt by its own recipe."""

    config = MetaKGConfig(dim=8, dims=(8, 8), readout="concat0", normalise="readout0", cold_users="neighbours")
    meta = MetaConfig(tasks=8, facts=64, scheduler=None)
    without_gradient: ClassVar[Mapping[str, str]] = {
        "bias": "the query loss does not teach it (Algorithm 1), and in the difference of head and tail it cancels"
    }

    def batches(self, model: Recommender, view: TrainView, seed: int) -> Iterable[Any]:
        """Return the meta-batches of a pass."""
        assert isinstance(model, MetaKG)
        source = TaskBatches(model, view, self.meta, seed)
        return [source.next(model, step) for step in range(len(source))]

    def train(self, model: Recommender, view: TrainView, seed: int) -> Recommender:
        """Start from BPR, and take some passes over the tasks."""
        bpr, loop = BprConfig(learning_rate=0.02, epochs=40), LoopConfig(learning_rate=0.01, epochs=8)
        recipe = Recipe(start="bpr-content", bpr=bpr, meta=self.meta, loop=loop)
        assert isinstance(self.config, MetaKGConfig)
        return train_metakg(self.config, recipe, view, seed=seed)[0]
