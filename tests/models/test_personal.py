"""What the models that adapt to each user share: the meta-gradient of both orders."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from metakg.models.melu import Melu, MeluConfig
from metakg.models.metahin import MetaHin, MetaHinConfig
from metakg.models.metapaths import USERS, Link, MetaPath
from metakg.models.personal import Chosen, Personal
from metakg.sample.episodes import Episodes, TaskBatch
from metakg.testing import toy_view

KINDS: dict[str, tuple[type[Personal], type[MeluConfig] | type[MetaHinConfig]]] = {
    "melu": (Melu, MeluConfig),
    "metahin": (MetaHin, MetaHinConfig),
}


def build(kind: str, **settings: object) -> Personal:
    model, config = KINDS[kind]
    fields = Link(1, False), Link(0, False)
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
