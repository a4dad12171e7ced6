"""Training, adapting and ranking on a GPU, where there is one: the same model as on the CPU, and nothing left behind there."""

from __future__ import annotations

import pytest
import torch

from metakg.comparison import compare
from metakg.evaluation import evaluate
from metakg.models.base import Recommender
from metakg.testing import planted_split
from metakg.train.fit import TRAINING, fit, scenario_mean, settings_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

ON_GPU = sorted(set(TRAINING) - {"metakg"})


@pytest.mark.parametrize("name", ON_GPU)
def test_a_model_learns_and_is_judged_on_the_gpu(name: str) -> None:
    """Losses, adaptation and ranking run there; what comes home ranks the same by the same numbers."""
    split = planted_split()
    loop = {"epochs": 4, "validate_epochs": 2}
    config, how = settings_for(name, {"training": {"loop": loop}})
    judged: list[tuple[str, float, Recommender]] = []

    def judge(trained: Recommender) -> float:
        score = scenario_mean(trained, split)
        judged.append((next(trained.parameters()).device.type, score, trained))
        return score

    fitted = fit(config, how, split.train, 1, validate=judge, device="cuda")
    assert [device for device, _, _ in judged] == ["cuda", "cuda"]
    assert {tensor.device.type for tensor in fitted.tensors().values()} == {"cpu"}
    users = torch.arange(min(20, split.train.n_users))
    with torch.no_grad():
        here, there = fitted.score_all(users), judged[-1][2].score_all(users.to("cuda")).cpu()
    assert torch.isfinite(here).all()
    if judged[-1][1] > judged[0][1]:  # the last parameters are the ones that were kept
        torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-4)
    popular = scenario_mean(fit(*settings_for("popularity", {}), split.train, 1), split)
    assert max(score for _, score, _ in judged) > 0.5 * popular


@pytest.mark.parametrize("name", ON_GPU)
def test_it_adapts_at_home_as_it_does_on_the_gpu(name: str) -> None:
    """From the same numbers; other draws (dropout, sampled neighbours) and the order of additions lead them apart a little."""
    split = planted_split()
    config, how = settings_for(name, {"training": {"loop": {"epochs": 1}}})
    seen: list[Recommender] = []

    def judge(trained: Recommender) -> float:
        seen.append(trained)
        return 1.0

    fitted = fit(config, how, split.train, 1, validate=judge, device="cuda")
    support = split.support("user_cold")
    here, there = fitted.adapt(support), seen[-1].adapt(support)
    assert next(there.parameters()).device.type == "cuda"
    assert here.view.n_users == there.view.n_users
    recall = [evaluate(r, split, k=20, metric_names=("recall",)).results[0].values["recall", 20] for r in (fitted, seen[-1])]
    assert abs(recall[0].mean() - recall[1].mean()) < 0.15


def test_compare_trains_adapts_and_ranks_there_and_names_the_card(tmp_path) -> None:
    """What only works on the CPU stays there; a kept run is shown again with its card."""
    split, quick = planted_split(), {"training": {"start": "xavier", "loop": {"epochs": 2}, "adapt": {"epochs": 1}}}
    given = {"models": ["walk", "fm"], "settings": {"fm": quick}, "keep": tmp_path, "device": "cuda"}
    board = compare(split, **given)
    assert [run.device for run in board.runs] == ["CPU", torch.cuda.get_device_name()]
    again = compare(split, **{**given, "device": "cpu"})
    assert [run.device for run in again.runs] == [run.device for run in board.runs]
    assert again.rows == board.rows
    assert f"ranked on {torch.cuda.get_device_name()}, which their seconds are of: fm." in again.text()
