"""The one door to a fitted recommender: settings are checked before anything runs, and bundles give back what was fitted."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metakg
from metakg.data import Support, TrainView
from metakg.engine import Engine, fit
from metakg.errors import CheckpointError, ConfigError, DataError, TrainingError
from metakg.models.metakg import MetaKG, MetaKGConfig
from metakg.models.metakg_paper import MetaKG as PaperMetaKG
from metakg.models.metakg_paper_config import MetaKGConfig as PaperConfig
from metakg.models.registry import FLOORS, MODELS, config_for
from metakg.nesting import merged
from metakg.testing import arriving, planted_split, toy_view
from metakg.train import fit as training
from metakg.train.adapt import AdaptConfig, CoAdapting
from metakg.train.baseline import Adapting
from metakg.train.fit import TRAINING, settings_for
from metakg.train.initialise import InitConfig
from metakg.train.loop import LoopConfig
from metakg.train.meta import MetaConfig
from metakg.train.practice import PracticeConfig
from metakg.train.recipe import Recipe
from metakg.train.scheduler import SchedulerConfig

PAPER = {"dim": 6, "dims": (6, 6), "fan_out": 3}
RECIPE = Recipe(
    init=InitConfig(epochs=1, batch_size=64),
    meta=MetaConfig(tasks=4, facts=16, scheduler=SchedulerConfig(pool=6)),
    loop=LoopConfig(epochs=1),
    adapt=AdaptConfig(epochs=1, batch_size=8, facts=8),
).model_dump(mode="json")
PRACTICE = {"worlds": 1, "tasks_each": 20, "loop": {"epochs": 1}}


def scores(engine: Engine) -> torch.Tensor:
    return engine.recommender.score_all(torch.arange(engine.recommender.view.n_users))


@pytest.fixture(scope="module")
def paper() -> Engine:
    return fit("metakg-paper", toy_view(tasks=True), seed=4, training=RECIPE, **PAPER)


# -- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TRAINING))
@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"no_such_setting": 1}, "no_such_setting"),
        ({"loop": {"epohcs": 1}}, "loop.epohcs"),
        ({"loop": {"epochs": 0}}, "loop.epochs"),
    ],
)
def test_a_training_setting_that_is_wrong_is_named(name: str, given: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=rf"setting training\.{place} of {name}: .*metakg doctor {name}"):
        fit(name, toy_view(tasks=True), training=given)


@pytest.mark.parametrize("name", sorted(TRAINING))
@pytest.mark.parametrize("given", [3, [], "fast"])
def test_training_settings_are_a_table(name: str, given: Any) -> None:
    with pytest.raises(
        ConfigError, match=re.escape(f"setting training of {name}: found {given!r}; expected a group of settings")
    ):
        settings_for(name, {"training": given})


def test_a_setting_that_practice_would_not_follow_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"of metakg: .*held_out"):
        settings_for("metakg", {"training": {"scheduler": {"reward": "held_out"}}})


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_has_no_training(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\.training: found \{{'epochs': 1\}}.*{name} needs no training"):
        fit(name, toy_view(), training={"epochs": 1})
    with pytest.raises(ConfigError, match="needs no training"):
        settings_for(name, {"training": {}})
    assert settings_for(name, {}) == (config_for(name), None)


def test_a_model_setting_is_no_training_setting() -> None:
    with pytest.raises(ConfigError, match="setting worlds of metakg"):
        settings_for("metakg", {"worlds": 3})
    with pytest.raises(ConfigError, match=r"setting training\.hidden of metakg"):
        settings_for("metakg", {"training": {"hidden": 3}})
    with pytest.raises(ConfigError, match="'metakgg'"):
        settings_for("metakgg", {})


def test_settings_are_completed_and_what_was_given_is_left_alone() -> None:
    given = {"hidden": 3, "training": {"worlds": 5}}
    config, how = settings_for("metakg", given)
    assert config == MetaKGConfig(hidden=3)
    assert how == PracticeConfig(worlds=5)
    assert given == {"hidden": 3, "training": {"worlds": 5}}
    for name, kind in TRAINING.items():
        assert settings_for(name, {}) == (config_for(name), kind())
        assert settings_for(name, {"training": None}) == (config_for(name), kind())
        dumped = kind().model_dump(mode="json")
        assert settings_for(name, {"training": json.loads(json.dumps(dumped))})[1] == kind()


def test_one_setting_of_a_group_leaves_the_others_as_they_are() -> None:
    for name, kind in TRAINING.items():
        _, how = settings_for(name, {"training": {"loop": {"epochs": 7}}})
        loop = kind().loop.model_copy(update={"epochs": 7})
        assert how == kind().model_copy(update={"loop": loop}), name
    assert settings_for("metakg", {"training": {"scheduler": {"pool": 65}}})[1].scheduler == SchedulerConfig(pool=65)
    assert settings_for("metakg-paper", {"training": {"meta": {"scheduler": None}}})[1].meta.scheduler is None


def test_every_model_that_learns_has_training_settings() -> None:
    view = toy_view(tasks=True)
    for name in MODELS:
        model = training.build(config_for(name), view, 1)
        assert any(p.requires_grad for p in model.parameters()) == (name in TRAINING), name


def test_a_learnt_model_without_training_settings_is_refused() -> None:
    with pytest.raises(TrainingError, match="metakg: found no training settings"):
        training.fit(MetaKGConfig(hidden=3), None, toy_view(), 1)


# -- fitting -----------------------------------------------------------------------------------------------------------------


def test_a_floor_is_built_and_nothing_else() -> None:
    view = toy_view()
    config, how = settings_for("walk", {"steps": 3})
    fitted = training.fit(config, how, view, 1)
    users = torch.arange(view.n_users)
    assert torch.equal(fitted.score_all(users), training.build(config, view, 1).score_all(users))


def test_the_default_model_is_taught_and_tells_how_far_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    view = planted_split().train
    engine = fit("metakg", view, seed=2, folder=tmp_path, report=said.append, hidden=8, training=PRACTICE)
    assert isinstance(engine.recommender, MetaKG)
    assert not engine.recommender.training
    bare = training.build(config_for("metakg", {"hidden": 8}), view, 2)
    assert not torch.equal(engine.recommender.w1, bare.w1)
    assert said[0] == "drawing world 1 of 2"
    assert re.match(r"training: step (\d+) of at most \1, ", said[-1])
    assert (tmp_path / "log.jsonl").exists()
    again = fit("metakg", view, seed=2, folder=tmp_path, resume=True, hidden=8, training=PRACTICE)
    assert torch.equal(scores(again), scores(engine))
    with pytest.raises(CheckpointError):
        fit("metakg", view, seed=3, folder=tmp_path, resume=True, hidden=8, training=PRACTICE)


def test_the_default_model_stops_by_a_judge_if_there_is_one() -> None:
    asked: list[float] = []

    def judge(recommender: Any) -> float:
        assert isinstance(recommender, MetaKG)
        asked.append(float(recommender.w1.detach().sum()))
        return -float(len(asked))  # the first is the best

    practice = {**PRACTICE, "loop": {"epochs": 3}}
    config, how = settings_for("metakg", {"hidden": 8, "training": practice})
    fitted = training.fit(config, how, planted_split().train, 2, validate=judge)
    assert isinstance(fitted, MetaKG)
    assert len(set(asked)) == 3
    assert float(fitted.w1.detach().sum()) == asked[0]


def test_too_little_data_is_said() -> None:
    view = toy_view()
    few = TrainView(view.vocabulary, view.interactions.select(np.arange(9)), view.graph)
    with pytest.raises(DataError, match="blend"):
        fit("metakg", few, hidden=8, training=PRACTICE)
    with pytest.raises(DataError, match="tasks"):
        fit("metakg-paper", toy_view(), training=RECIPE, **PAPER)


def test_the_papers_model_stops_by_a_split_and_keeps_its_best(tmp_path: Path) -> None:
    split = planted_split()
    loop = {"epochs": 3, "patience": 1, "learning_rate": 0.05}
    config, how = settings_for("metakg-paper", {**PAPER, "training": {**RECIPE, "loop": loop}})
    fitted = training.fit(config, how, split.train, 1, validate=split, folder=tmp_path)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    seen = [event["score"] for event in events if event["event"] == "validation"]
    assert len(seen) == 3 or seen.index(max(seen)) == len(seen) - 1 - loop["patience"]
    assert training.scenario_mean(fitted, split) == pytest.approx(max(seen))
    assert len(set(seen)) > 1


# -- bundles -----------------------------------------------------------------------------------------------------------------


def test_a_bundle_lists_every_setting(paper: Engine, tmp_path: Path) -> None:
    paper.save(tmp_path / "paper")
    manifest = json.loads((tmp_path / "paper" / "manifest.json").read_text())
    assert manifest["model"] == json.loads(PaperConfig(**PAPER).model_dump_json())
    assert manifest["training"] == json.loads(Recipe(**RECIPE).model_dump_json())
    assert manifest["seed"] == 4
    fit("walk", toy_view(), steps=3).save(tmp_path / "walk")
    manifest = json.loads((tmp_path / "walk" / "manifest.json").read_text())
    assert manifest["training"] is None
    assert manifest["model"] == json.loads(config_for("walk", {"steps": 3}).model_dump_json())


def test_the_papers_model_comes_back_from_a_bundle_and_adapts(paper: Engine, tmp_path: Path) -> None:
    assert isinstance(paper.recommender, CoAdapting)
    paper.save(tmp_path / "paper")
    again = metakg.load(tmp_path / "paper")
    assert isinstance(again.recommender, CoAdapting)
    assert isinstance(again.recommender.model, PaperMetaKG)
    assert not again.recommender.model.training
    assert again.settings == paper.settings
    assert torch.allclose(scores(again), scores(paper), atol=1e-6)
    for support in (arriving(), Support.clicks("ann", ["i03"]), Support.clicks("lou", ["i00", "i07"])):
        adapted = again.adapt(support=support)
        names = adapted.recommender.view.vocabulary.users
        assert {"ann", *support.users.to_pylist()} <= set(names.array.to_pylist())
        assert torch.isfinite(scores(adapted)).all()
    assert torch.allclose(scores(again), scores(paper), atol=1e-6), "adapting left the loaded engine as it was"


def test_the_papers_model_adapts_after_loading_as_before(paper: Engine, tmp_path: Path) -> None:
    paper.save(tmp_path / "paper")
    again = metakg.load(tmp_path / "paper")
    online = [engine.adapt("lou", ["i00", "i07"]) for engine in (paper, again)]
    assert torch.allclose(scores(online[0]), scores(online[1]), atol=1e-5)
    assert online[0].recommend("lou", 3)[0].item == online[1].recommend("lou", 3)[0].item


def test_the_papers_model_that_learnt_from_what_arrived_comes_back_from_a_bundle(paper: Engine, tmp_path: Path) -> None:
    adapted = paper.adapt(support=arriving())
    adapted.save(tmp_path / "adapted")
    again = metakg.load(tmp_path / "adapted")
    assert torch.allclose(scores(again), scores(adapted), atol=1e-5)


def test_users_whom_the_papers_model_met_online_come_back_from_a_bundle(paper: Engine, tmp_path: Path) -> None:
    clicks = (("lou", ["i00", "i07"]), ("ann", ["i03"]), ("max", ["i05"]))  # two of them have no row in the graph
    met = paper
    for user, liked in clicks:
        met = met.adapt(support=Support.clicks(user, liked))
    met.save(tmp_path / "met")
    again = metakg.load(tmp_path / "met")
    assert isinstance(again.recommender, CoAdapting)
    assert again.recommender.view.vocabulary.users == met.recommender.view.vocabulary.users
    assert torch.allclose(scores(again), scores(met), atol=1e-6)
    assert not torch.allclose(scores(again)[:-2], scores(paper), atol=1e-3), "a known user moved"
    further = [engine.adapt(support=Support.clicks("lou", ["i02"])) for engine in (met, again)]
    assert torch.allclose(scores(further[0]), scores(further[1]), atol=1e-5)
    learnt = [engine.adapt(support=arriving()) for engine in (met, again)]  # all of them become nodes
    assert torch.allclose(scores(learnt[0]), scores(learnt[1]), atol=1e-4)
    learnt[1].save(tmp_path / "learnt")
    assert torch.allclose(scores(metakg.load(tmp_path / "learnt")), scores(learnt[1]), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moved_users": torch.tensor([0, 0])}, "users without a row or a vector"),
        ({"moved_users": torch.tensor([-1, 8])}, "users without a row or a vector"),
        ({"moved_vectors": torch.zeros(2, 3)}, "of another shape"),
        ({"node": torch.zeros(2, 6)}, "users without a row or a vector"),
    ],
)
def test_damaged_vectors_of_moved_users_are_refused(paper: Engine, change: dict[str, torch.Tensor], message: str) -> None:
    met = paper.adapt(support=Support.clicks("lou", ["i00"])).adapt(support=Support.clicks("ann", ["i03"]))
    config, how = settings_for("metakg-paper", {**PAPER, "training": RECIPE})
    tensors = met.recommender.tensors()
    assert tensors["moved_users"].tolist() == [8, 0]
    view = met.recommender.view
    restored = training.restore(config, how, view, dict(tensors), 4)
    assert torch.allclose(restored.score_all(torch.arange(9)), met.recommender.score_all(torch.arange(9)), atol=1e-6)
    with pytest.raises(CheckpointError, match=message):
        training.restore(config, how, view, tensors | change, 4)


def test_tensors_of_another_model_are_refused(paper: Engine) -> None:
    config, how = settings_for("metakg-paper", {**PAPER, "dim": 8, "dims": (8, 8), "training": RECIPE})
    with pytest.raises(CheckpointError, match="metakg-paper"):
        training.restore(config, how, toy_view(), paper.recommender.tensors(), 4)
    ours, practice = settings_for("metakg", {"hidden": 8})
    with pytest.raises(CheckpointError, match="tensors of metakg"):
        training.restore(ours, practice, toy_view(), {"w1": torch.zeros(2, 3)}, 4)


def test_the_settings_of_the_released_code_are_read_and_train(world) -> None:
    path = Path(__file__).parents[2] / "settings" / "released.toml"
    given = tomllib.loads(path.read_text(encoding="utf-8"))["metakg-paper"]
    small = {"training": {"bpr": {"epochs": 1}, "adapt": {"epochs": 1}}, "dim": 8, "dims": [8, 8]}
    config, how = settings_for("metakg-paper", merged(given, small))
    assert (config.arch, config.fan_out, config.inner_steps, how.start, how.meta.tasks) == ("code", None, 2, "bpr", 2)
    fitted = training.fit(config, how, world.view, 1)
    assert torch.isfinite(fitted.adapt(Support.clicks("users-1", ["items-50"])).score_all(torch.arange(3))).all()


# -- elsewhere than on the CPU -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fm", "kgat", "melu", "metakg-paper"])
def test_what_was_trained_elsewhere_comes_home(name: str) -> None:
    """`cpu:0` is the CPU by a name that the code takes for another device."""
    split = planted_split()
    quick = {"training": {"loop": {"epochs": 2, "validate_epochs": 1}, "adapt": {"epochs": 1}}}
    config, how = settings_for(name, quick)
    seen: list[str] = []
    scores = []
    for device in ("cpu", "cpu:0"):

        def judge(trained: Any) -> float:
            seen.append(next(trained.parameters()).device.type)
            return float(trained.score_all(torch.arange(3)).detach().std())

        fitted = training.fit(config, how, split.train, 1, validate=judge, device=device)
        scores.append(fitted.score_all(torch.arange(5)))
        assert type(fitted) in (Adapting, CoAdapting)
        fitted.adapt(split.support("user_cold"))
    torch.testing.assert_close(scores[0], scores[1])
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("fm", "gpu9", "found 'gpu9'; expected 'cpu'"),
        ("fm", "meta", "found 'meta'; expected 'cpu'.*, which are here"),
        ("walk", "cuda", "walk learns nothing by gradient"),
        ("metakg", "cuda", "metakg gathers its evidence on the CPU"),
    ],
)
def test_a_device_that_will_not_do_is_refused_first(monkeypatch, name: str, device: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=message):
        fit(name, toy_view(tasks=True), device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device: found 'cuda'; expected 'cpu', which are here"):
        fit(name, toy_view(tasks=True), device="cuda")


def test_epochs_found_by_validation_are_epochs_however_the_settings_validate(monkeypatch: pytest.MonkeyPatch) -> None:
    split = replace(planted_split(), validation=planted_split())
    told = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr(training, "scenario_mean", lambda *_: next(told))
    given = {"dim": 4, "training": {"start": "xavier", "loop": {"epochs": 3, "validate_every": 1, "patience": 9}}}
    config, how = settings_for("fm", given)
    assert training.epochs_by_validation(config, how, split, 1) == 2
    assert next(told, None) is None, "three epochs, three validations"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"training": {"epochs": "abc"}}, "setting training.epochs of metakg: found 'abc'; expected a setting that there is"),
        ({"hidden": "x"}, "setting hidden of metakg: found 'x'; expected a whole number"),
        ({"hidden": 2.5}, "expected a whole number"),
        ({"hidden": 0}, "found 0; expected a number above 0"),
        ({"inner_lr": "fast"}, "expected a number."),
        ({"exclude_seen": "maybe"}, "expected true or false"),
        ({"order": "third"}, "found 'third'; expected 'first' or 'second'"),
    ],
)
def test_what_was_expected_of_a_setting_is_said_in_words_for_people(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(what)):
        settings_for("metakg", given)
