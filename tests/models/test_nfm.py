"""The neural factorisation machine: scores by loops, dropout only in training, and its start from a factorisation machine."""

from __future__ import annotations

import pytest
import torch

from metakg.data import TrainView
from metakg.errors import ConfigError
from metakg.models.fm import FM
from metakg.models.nfm import NFM, NfmConfig
from metakg.sample.pairs import PairBatch
from metakg.testing import LearntContract
from metakg.train.baseline import AdaptRule, BaselineConfig, train_baseline
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
TAILS = {0: [8], 1: [8], 2: [9], 3: [9], 4: [10], 5: [10], 6: [], 7: [8]}


class TestNfm(LearntContract):
    config = NfmConfig(dim=8, hidden=(8, 4))
    training = BaselineConfig(
        batch_size=512, loop=LoopConfig(learning_rate=0.02, epochs=40), adapt=AdaptRule(learning_rate=0.03, epochs=40)
    )


def build(view: TrainView, **settings: object) -> NFM:
    model = NFM(NfmConfig(**{"dim": 3, "hidden": (4, 2), **settings}), view, torch.Generator().manual_seed(3))
    with torch.no_grad():  # larger numbers than a start has, so that every ReLU has both sides
        model.weight.copy_(torch.linspace(-1, 1, view.n_entities)[:, None])
        for p in (model.user, model.entity, *model.layers, model.top):
            p.mul_(3)
        for bias in model.biases:
            bias.copy_(torch.linspace(-0.2, 0.3, len(bias)))
    return model.eval()


@pytest.mark.parametrize("norm", ["sum", "mean", "idf"])
def test_scores_equal_the_definition_worked_out_by_loops(toy: TrainView, norm: str) -> None:
    model = build(toy, tail_norm=norm)
    scores = model.score_all(torch.arange(6))
    pairwise = model.score_pairs(torch.arange(6), torch.arange(8).expand(6, -1))
    (w1, w2), (d1, d2) = model.layers, model.biases
    for user in range(6):
        for item, tails in TAILS.items():
            vectors = [model.user[user], model.entity[item], *(model.entity[t] for t in tails)]
            z = sum(vectors[f] * vectors[g] for f in range(len(vectors)) for g in range(f + 1, len(vectors)))
            z = torch.relu(w2 @ torch.relu(w1 @ z + d1) + d2)
            expected = float(model.weight[item, 0] + sum(model.weight[t, 0] for t in tails) + model.top @ z)
            assert float(scores[user, item]) == pytest.approx(expected, rel=1e-5, abs=1e-5)
            assert float(pairwise[user, item]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_loss_is_bpr_of_the_scores_without_dropout_and_noisy_with_it(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.5, dropout=0.5)
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    scores, still = model.score_all(torch.arange(6)), model(batch)
    margins = torch.stack([scores[0, 0] - scores[0, 6], scores[1, 2] - scores[1, 7], scores[0, 1] - scores[0, 7]])
    assert float(still["rank"]) == pytest.approx(float(-torch.log(torch.sigmoid(margins)).mean()), abs=1e-5)
    rows = [0, 1, 2, 6, 7, 8, 9]
    length = model.user[[0, 1, 0]].square().sum() + model.entity[rows].square().sum() + model.weight[rows].square().sum()
    network = sum(p.square().sum() for p in (*model.layers, model.top))
    assert float(still["l2"]) == pytest.approx(float(0.5 * (length / 2 / 3 + network / 2)), rel=1e-5)
    model.train()
    assert float(model(batch)["rank"]) != float(model(batch)["rank"])


def test_it_can_start_from_a_factorisation_machine(toy: TrainView) -> None:
    config = BaselineConfig(start="fm", loop=LoopConfig(epochs=1, learning_rate=1e-9), batch_size=8)
    config = config.model_copy(update={"bpr": config.bpr.model_copy(update={"learning_rate": 0.05, "batch_size": 8})})
    model = build(toy, cold="xavier")
    before = model.layers[0].detach().clone()
    train_baseline(model, config, 1)
    machine = FM(model.config.machine(), toy, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name in machine.rows:
            getattr(machine, name).copy_(getattr(model, name))
    scores, liked = machine.score_all(torch.arange(5)), torch.from_numpy(toy.history.toarray()[:5] > 0)
    assert float(scores[liked].mean() - scores[~liked].mean()) > 1, "as a factorisation machine, the start ranks well"
    torch.testing.assert_close(model.layers[0].detach(), before, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match=r"training\.start of fm: found 'fm'"):
        train_baseline(machine, config, 1)


def test_adapting_can_leave_the_network_alone(toy: TrainView) -> None:
    from metakg.testing import arriving, toy_view

    for parameters, moves in (("rows", False), ("all", True)):
        rule = AdaptRule(parameters=parameters, epochs=2, learning_rate=0.05)
        fitted, _ = train_baseline(build(toy_view()), BaselineConfig(loop=LoopConfig(epochs=1), adapt=rule), 1)
        adapted = fitted.adapt(arriving()).model
        assert torch.equal(adapted.layers[0], fitted.model.layers[0]) != moves
        assert not torch.equal(adapted.user[:7], fitted.model.user[:7])
        assert all(p.requires_grad for p in adapted.parameters())
