"""The released network against its description, loop by loop."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from metakg.data import Support, TrainView
from metakg.models.metakg_paper import MetaBatch, MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.metakg_released import MetaKGReleased
from metakg.sample.episodes import EpisodeSampler
from metakg.sample.triples import TripleBatch

RELEASED = tomllib.loads((Path(__file__).parents[2] / "settings" / "released.toml").read_text(encoding="utf-8"))["metakg-paper"]


def released_settings(**changes: object) -> MetaKGConfig:
    return MetaKGConfig(**{**{name: value for name, value in RELEASED.items() if name != "training"}, **changes})


def build(view: TrainView, **changes: object) -> MetaKGReleased:
    config = released_settings(**{"dim": 4, "dims": (4, 4), "message_dropout": 0.0, "edge_dropout": 0.0, **changes})
    return MetaKGReleased(config, view, torch.Generator().manual_seed(2)).double()


def slow_layers(model: MetaKGReleased) -> list[list[Tensor]]:
    view, n_users = model.view, model.graph.n_users
    query = set(zip(view.tasks.query.users.tolist(), view.tasks.query.items.tolist(), strict=True))
    pairs = zip(view.interactions.users.tolist(), view.interactions.items.tolist(), strict=True)
    clicks = sorted({pair for pair in pairs if pair not in query})
    kg = view.graph.entity
    facts = {(int(h), int(r) + 1, int(t)) for h, r, t in zip(kg.heads, kg.relations, kg.tails, strict=True)}
    facts |= {(t, r + view.n_relations, h) for h, r, t in facts}
    layers = [[row + model.bias for row in model.node]]
    zero = torch.zeros(4, dtype=torch.float64)
    for w_c, w_k in zip(model.network.w_c, model.network.w_k, strict=True):
        below, fused = layers[-1], []
        for entity in range(view.n_entities):
            told = [below[n_users + t] * model.relation[r] for h, r, t in sorted(facts) if h == entity]
            heard = [below[u] * model.relation[0] for u, i in clicks if i == entity]
            m_k, m_c = (sum(side) / len(side) if side else None for side in (told, heard))
            if m_k is not None and m_c is not None:
                g = torch.sigmoid(w_c[0] @ m_c + w_k[0] @ m_k)
                fused.append(g * m_k + (1 - g) * m_c)
            else:
                fused.append(m_c if m_k is None else m_k)
        fused = [zero if f is None else f for f in fused]
        users = [sum((fused[i] for u, i in clicks if u == user), zero) for user in range(n_users)]
        layers.append([v / v.norm().clamp(min=1e-12) for v in (*users, *fused)])
    return layers


def test_the_network_equals_its_description(toy: TrainView) -> None:
    model = build(toy)
    slow = slow_layers(model)
    vectors = model.encode()
    for fast, plain in zip(vectors.layers, slow, strict=True):
        torch.testing.assert_close(fast, torch.stack(plain).detach())
    torch.testing.assert_close(vectors.final, torch.stack([torch.stack(layer) for layer in slow]).sum(0).detach())


def test_it_adapts_the_gates_alone_and_learns_everything(toy: TrainView) -> None:
    model = build(toy)
    support, query = EpisodeSampler(toy, np.random.default_rng(0), support_size=10).draw(np.arange(3))
    adapted = model.adapt_tasks(model.tables(tracked=False), support)
    assert (len(adapted.w1), len(adapted.w2)) == (0, 0)
    assert all(stack.shape[0] == 3 for stack in (*adapted.w_c, *adapted.w_k))
    facts = TripleBatch(*(torch.tensor([n]) for n in (6, 1, 14, 17)))
    sum(model(MetaBatch(support, query, facts)).values()).backward()
    for name, p in model.named_parameters():
        assert name in ("project", "bias") or p.grad.abs().sum() > 0, name
    assert not model.project.requires_grad
    assert not model.bias.requires_grad
    assert not model.bias.any(), "the release has none"


@pytest.mark.parametrize("part", ["node", "relation"])
def test_its_gradient_equals_finite_differences(toy: TrainView, part: str) -> None:
    model = build(toy, inner_steps=0, weight_decay=0.0)
    support, query = EpisodeSampler(toy, np.random.default_rng(0)).draw(np.arange(3))
    batch = MetaBatch(support, query, None)
    model(batch)["query"].backward()
    p: Tensor = getattr(model, part)
    for place in ((0, 1), (1, 3)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                p[place] += step
            values.append(float(model(batch)["query"].detach()))
            with torch.no_grad():
                p[place] -= step
        assert float(p.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-9)


def test_half_of_the_facts_are_left_out_in_training_only(toy: TrainView) -> None:
    model = build(toy, edge_dropout=0.5)
    support, _ = EpisodeSampler(toy, np.random.default_rng(0)).draw(np.arange(3))
    tables, weights = model.tables(tracked=False), model.network.weights()
    first, second = (model.task_losses(tables, support, weights) for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model.task_losses(tables, support, weights) for _ in range(2))
    assert torch.equal(first, second)


def test_after_adaptation_old_clicks_are_gone(toy: TrainView) -> None:
    new = build(toy).adapt(Support.clicks("u5", ["i1"]))
    assert isinstance(new, MetaKGReleased)
    assert new.edges.users.tolist() == [5]
    assert torch.isfinite(new.score_all(torch.arange(6))).all()


def test_mixtures_are_refused(toy: TrainView) -> None:
    with pytest.raises(ValidationError, match='needs inner = "gate"'):
        MetaKGConfig(arch="code", fan_out=None)
    with pytest.raises(ValidationError, match="needs fan_out = None"):
        released_settings(fan_out=10)
    with pytest.raises(ValueError, match="MetaKGReleased"):
        MetaKG(released_settings(dim=4, dims=(4,)), toy, torch.Generator())
    with pytest.raises(ValueError, match='needs arch = "code"'):
        MetaKGReleased(MetaKGConfig(), toy, torch.Generator())
