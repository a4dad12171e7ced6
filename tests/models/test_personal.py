"""What the models that adapt to each user share: the meta-gradient of both orders."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from metakg.data import Support
from metakg.models.melu import Melu, MeluConfig
from metakg.models.metahin import MetaHin, MetaHinConfig
from metakg.models.metapaths import USERS, Link, MetaPath
from metakg.models.nn.decision import Decision, rank
from metakg.models.personal import Chosen, Personal
from metakg.sample.episodes import Episodes, TaskBatch
from metakg.testing import toy_view

KINDS: dict[str, tuple[type[Personal], type[MeluConfig] | type[MetaHinConfig]]] = {
    "melu": (Melu, MeluConfig),
    "metahin": (MetaHin, MetaHinConfig),
}


def build(kind: str, **settings: object) -> Personal:
    model, config = KINDS[kind]
    fields = () if settings.get("features") == "id" else (Link(1, False), Link(0, False))
    paths = (USERS, MetaPath((Link(0, False),))) if kind == "metahin" else ()
    chosen = Chosen(fields, paths, 7)
    values = config.model_validate({"dim": 3, "hidden": 4, "inner_lr": 0.7, "weight_decay": 0.0, **settings})
    built = model(values, toy_view(tasks=True), torch.Generator().manual_seed(3), chosen=chosen)
    with torch.no_grad():  # a bias of zero may be the kink of a ReLU
        for bias in (built.first_bias, built.second_bias):
            bias.normal_(0, 0.1, generator=torch.Generator().manual_seed(5))
    return built


def batch() -> TaskBatch:
    """Two tasks of ann and ben, of two and one support pairs."""
    support = Episodes(*(torch.tensor(t) for t in ([0, 1], [0, 0, 1], [0, 1, 3], [4, 9, 7])))
    query = Episodes(*(torch.tensor(t) for t in ([0, 1], [0, 1, 1], [2, 4, 5], [8, 0, 10])))
    return TaskBatch(support, query)


@pytest.fixture
def double() -> Iterator[None]:
    """Compute in float64, so that a difference has digits left."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_second_order_gradient_is_that_of_finite_differences(kind: str, steps: int) -> None:
    model, tasks = build(kind, order="second", inner_steps=steps).double(), batch()
    model(tasks)["query"].backward()
    rng, checked = np.random.default_rng(0), 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        flat, slope = parameter.data.view(-1), parameter.grad.view(-1)
        for place in rng.permutation(len(flat))[:6]:
            kept, values = flat[place].clone(), []
            for shift in (1e-6, -1e-6):
                flat[place] = kept + shift
                values.append(model(tasks)["query"].item())
            flat[place] = kept
            assert slope[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, abs=2e-6), (name, place)
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_orders_agree_in_the_loss_and_differ_in_the_gradient(kind: str) -> None:
    first, second = (build(kind, order=order) for order in ("first", "second"))
    losses = [model(batch())["query"] for model in (first, second)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    assert first.first.grad is not None
    assert second.first.grad is not None
    assert not torch.allclose(first.first.grad, second.first.grad, rtol=1e-3)


VARIANTS = [("melu", {"user": user}) for user in ("none", "activity", "facts")]
VARIANTS += [("metahin", {"order": order}) for order in ("first", "second")]


@pytest.mark.parametrize("features", ["kg", "id", "kg+id"])
@pytest.mark.parametrize(("kind", "settings"), VARIANTS)
def test_every_variant_is_taught_whole_and_ranks_exactly(kind: str, settings: dict[str, str], features: str) -> None:
    """Every parameter gets a gradient; ranking is one user after the other: known ones, a new one, one who clicked nothing.

    Items of one kind, as there are where they are made of facts alone, are worked out once.
    """
    model, tasks = build(kind, features=features, inner_steps=2, **settings), batch()
    tasks.query.negatives[-1] = 11  # of which no fact is known
    model(tasks)["query"].backward()
    unread = {"user"} if settings.get("user") == "activity" else set()
    for name, parameter in model.named_parameters():
        taught = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert taught == (name not in unread), name
    model.settle()
    new = model.extend(Support.clicks("zoe", ["i05", "i09"])).eval()
    users = torch.arange(new.view.n_users)
    every = torch.arange(new.view.n_items).expand(len(users), -1)
    torch.testing.assert_close(new.score_all(users), new.score_pairs(users, every), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_hardest_is_what_each_users_own_network_scores_highest(kind: str) -> None:
    model, tasks = build(kind, inner_steps=2), batch()
    q, each = tasks.query, 3
    several = Episodes(
        q.users,
        q.tasks.repeat_interleave(each),
        q.positives.repeat_interleave(each),
        torch.tensor([8, 6, 9, 0, 10, 6, 10, 0, 8]),
    )
    seen: list[tuple[Decision, Episodes]] = []
    real = model.hardest

    def noted(query: Episodes, each: int, decision: Decision) -> Episodes:
        seen.append((decision, real(query, each, decision)))
        return seen[-1][1]

    model.hardest = noted  # type: ignore[method-assign]
    loss = model(TaskBatch(tasks.support, several, each))["query"]
    decision, kept = seen[0]
    assert kept.users is q.users
    assert (kept.tasks.tolist(), kept.positives.tolist()) == (q.tasks.tolist(), q.positives.tolist())
    with torch.no_grad():
        every = rank(model.items(torch.arange(12)), decision)  # (2, 12)
    drawn = several.negatives.view(-1, each)
    best = torch.stack([drawn[row, every[task, drawn[row]].argmax()] for row, task in enumerate(q.tasks.tolist())])
    assert kept.negatives.tolist() == best.tolist()
    assert loss.item() == pytest.approx(model(TaskBatch(tasks.support, kept))["query"].item(), rel=1e-6)
    assert seen[1][1] is kept, "with one candidate each nothing is chosen"
    loss.backward()
    assert model.first.grad is not None
