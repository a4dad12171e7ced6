"""The experiments themselves, on a small shop: what their rows say, and that they cannot lie."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metakg.comparison import compare, identify
from metakg.data import KnowledgeGraph
from metakg.errors import ConfigError, DataError, LeakageError, TrainingError
from metakg.evaluation import Evaluation, evaluate
from metakg.evaluation.leakage import check_view
from metakg.experiments import efficiency, leak, measure, parameters, scalability
from metakg.experiments.lab import Lab, claim, ordered
from metakg.experiments.rows import read
from metakg.experiments.runner import Desk
from metakg.experiments.suite import EXPERIMENTS, chosen, experiment
from metakg.generator import random_world
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.registry import FLOORS, MODELS
from metakg.nesting import merged
from metakg.rng import torch_generator
from metakg.train.loop import watching


def rows_of(lab, name: str, *, models=None) -> list[dict]:
    report, _ = experiment(lab, [name], about={"name": "shop"}, resume=True)
    assert not report.failed, report.failed
    return read(lab.folder / f"{name}.jsonl").rows


def test_table3_equals_judging_by_hand_and_keeps_every_user(lab, cut) -> None:
    work = lab("popularity", "walk", seeds=2)
    rows = rows_of(work, "table3")
    from metakg.engine import fit

    by_hand = evaluate(fit("walk", cut.train), cut, k=20, metric_names=("recall", "ndcg"))
    found = {(r["scenario"], r["metric"]): r["mean"] for r in rows if r["what"] == "quality" and r["model"] == "walk"}
    assert found == {(r["scenario"], r["metric"]): r["mean"] for r in by_hand.rows if r["metric"] in ("recall", "ndcg")}
    kept = {Evaluation.load(folder).model for folder in (work.folder / "kept").iterdir()}
    assert kept == {"popularity", "walk"}
    assert len({row["key"] for row in rows}) == 2  # a model without randomness runs once, whatever the seeds


def test_table3_takes_over_what_compare_kept_of_the_same_settings(lab, cut, tmp_path, monkeypatch) -> None:
    work = lab("walk", "metakg-paper", seeds=2)
    compare(cut, ["walk", "metakg-paper"], seeds=[1], settings=work.settings, keep=tmp_path / "kept")
    by_hand = [row for row in rows_of(lab("walk", "metakg-paper", folder=tmp_path / "one"), "table3") if row["what"] != "cost"]

    def trained(self: Lab, desk: object, model: str, seed: int, *rest: object) -> None:
        raise TrainingError("a run", f"{model}, seed {seed}, trained", expected="it to be taken over", fix="")

    monkeypatch.setattr(Lab, "fit", trained)
    taken = replace(work, compared=tmp_path / "kept")
    report, _ = experiment(taken, ["table3"], about={"name": "shop"})
    assert [unit.name for unit, _ in report.failed] == ["metakg-paper, seed 2"], "which compare was not asked for"
    rows = read(taken.folder / "table3.jsonl").rows
    assert [row for row in rows if row["what"] != "cost"] == by_hand
    assert [row["parameters"] > 0 for row in rows if row["what"] == "cost"] == [False, True]
    manifest = tmp_path / "kept" / "walk-1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"device": "SOME CARD"}))
    cost = next(r for r in rows_of(replace(taken, folder=tmp_path / "card", models=("walk",)), "table3") if r["what"] == "cost")
    assert cost["device"] == "SOME CARD", "its seconds are not a processor's"
    manifest.write_text(json.dumps({k: v for k, v in json.loads(manifest.read_text()).items() if k != "cpu_s"}))
    older = replace(taken, folder=tmp_path / "older", models=("walk",))
    assert {row["what"] for row in rows_of(older, "table3")} == {"quality"}, "a run of an older version tells no costs"
    other = replace(taken, folder=tmp_path / "two", settings={"walk": {"decay": 0.25}})
    report, _ = experiment(other, ["table3"], about={"name": "shop"})
    assert len(report.failed) == 3, "other settings are trained anew"
    told = [f"{tmp_path / 'kept' / name}-1 was kept under another rule (" for name in ("walk", "metakg-paper")]
    assert all(any(line.startswith(words) for line in report.remarks) for words in told)
    assert "(model) and is not taken over" in next(line for line in report.remarks if "walk-1" in line)


def test_the_same_seeds_give_the_same_digits(lab, tmp_path) -> None:
    first = rows_of(lab("metakg-paper", folder=tmp_path / "one"), "table3")
    second = rows_of(lab("metakg-paper", folder=tmp_path / "two"), "table3")
    digits = [[(r["scenario"], r["metric"], r["mean"]) for r in rows if r["what"] == "quality"] for rows in (first, second)]
    assert digits[0] == digits[1]
    assert [r for r in first if r["what"] == "curve"] == [r for r in second if r["what"] == "curve"]
    curve = next(r for r in first if r["what"] == "curve" and r["phase"] == "training")
    assert len(curve["steps"]) == len(curve["loss"]) > 0


def test_every_model_of_the_registry_takes_part(lab) -> None:
    work = lab(*MODELS)
    for name in ("table3", "efficiency"):
        rules = [unit.rule["model"]["kind"] for unit in EXPERIMENTS[name](work)]
        assert set(rules) == set(MODELS), name


def test_a_size_is_asked_for_some_users_and_says_so(lab, cut, monkeypatch) -> None:
    everybody = {name: len(np.unique(s.query.users)) for name, s in cut.scenarios.items()}
    monkeypatch.setattr(efficiency, "generated", lambda *_: cut)
    monkeypatch.setattr(efficiency, "_ASKED", min(everybody.values()) - 1)
    rows = [row for row in rows_of(lab("popularity"), "efficiency") if row["what"] == "inference"]
    assert [row["place"] for row in rows] == ["here", "amazon-book", "yelp2018"]
    assert {row["users"] for row in rows} == {sum(everybody.values())}
    few = len(everybody) * (min(everybody.values()) - 1)
    assert [row["asked_users"] for row in rows] == [sum(everybody.values()), few, few]
    units = EXPERIMENTS["efficiency"](lab("popularity", "walk", places=["here"]))
    assert [unit.name for unit in units] == ["popularity, this split", "walk, this split"]
    some = efficiency.asking(cut, 3)
    for name, whole in cut.scenarios.items():
        asked = some.scenarios[name]
        assert len(np.unique(asked.query.users)) == 3
        assert asked.support is whole.support
        users = np.isin(whole.query.users, asked.query.users)
        assert (asked.query.items == whole.query.items[users]).all(), "all of a user's answers"


def test_a_short_budget_compares_ours_with_the_floors(lab) -> None:
    names = [unit.name for unit in EXPERIMENTS["table3"](lab("walk", "fm", "kgat", "metakg-paper", "metakg"))]
    assert names == ["walk", *(f"{name}, seed 1" for name in ("metakg-paper", "metakg", "fm", "kgat"))]


def test_units_of_all_experiments_have_names_and_keys_of_their_own(lab) -> None:
    from metakg.experiments.rows import key_of

    for name, units in EXPERIMENTS.items():
        made = units(lab(*MODELS, seeds=2))
        assert len({u.name for u in made}) == len({key_of(u.rule) for u in made}) == len(made) > 0, name


def test_ablation_has_the_papers_five(lab) -> None:
    rows = rows_of(lab("metakg-paper"), "ablation")
    variants = ("full", "no-scheduler", "no-collaborative", "no-knowledge", "base")
    assert {r["model"] for r in rows} == {f"metakg-paper {variant}" for variant in variants}
    of_warm = [r["mean"] for r in rows if r["what"] == "quality" and r["scenario"] == "warm" and r["metric"] == "ndcg"]
    assert len(set(of_warm)) > 1


@pytest.mark.parametrize("tasks", [16, 64, 128])
def test_the_ablation_has_a_pool_to_choose_from_whatever_tasks_are_set(lab, tasks) -> None:
    work = lab("metakg")
    work = replace(work, settings={"metakg": merged(work.settings["metakg"], {"training": {"tasks": tasks}})})
    pools = [unit.rule["training"]["scheduler"] for unit in EXPERIMENTS["ablation"](work)]
    assert [scheduler and scheduler["pool"] for scheduler in pools] == [2 * tasks, None, 2 * tasks, None]


def test_shots_reveal_more(lab) -> None:
    work = lab("walk", "metakg-paper")
    from metakg.experiments import sensitivity
    from metakg.experiments.runner import Desk

    desk = Desk(lambda words: None, {}, lambda: None, lambda words: None)
    for unit in sensitivity.units(work):
        if unit.rule.get("study") == "shots":
            rows = unit.work(desk)
            shots = {r["shots"] for r in rows if r["what"] == "quality" and r["scenario"] == "user_cold"}
            assert shots == set(sensitivity.SHOTS)
            means = [r["mean"] for r in rows if (r.get("scenario"), r.get("metric")) == ("user_cold", "recall")]
            assert len(set(means)) > 1, "what is revealed changes the lists"


# -- the leak --------------------------------------------------------------------------------------------------------------


def test_answers_are_a_share_of_the_query_and_grow_with_it(cut) -> None:
    few, many = (leak.take_answers(cut, "user_cold", share, 1).pairs for share in (0.3, 0.7))
    query = cut.scenarios["user_cold"].query
    n = cut.dataset.vocabulary.n_items
    assert len(few) == round(0.3 * len(query))
    assert set(few.keys(n)) <= set(many.keys(n)) <= set(query.keys(n))
    assert len(leak.take_answers(cut, "user_cold", 0.0, 1).pairs) == 0


def test_vectors_that_saw_answers_find_them_and_rows_say_so(lab) -> None:
    rows = [r for r in rows_of(lab("popularity"), "leak") if r["scenario"] == "user_cold" and r["metric"] == "recall"]
    last = {r["saw"]: r for r in rows if r["epochs"] == leak.EPOCHS[-1]}
    assert last["nothing"]["mean"] < last["as released"]["mean"] < last["everything"]["mean"]
    assert [last[saw]["leaked"] for saw in ("nothing", "as released", "everything")] == [False, True, True]
    assert last["as released"]["share"] == leak.RELEASED["user_cold"]


def test_without_answers_the_door_lets_nothing_through(lab, cut) -> None:
    """The honest vectors are those of the same pairs, whatever stands in the query."""
    work = lab("popularity")
    view = leak.knowing(work, "user_cold")
    check_view(cut, ["user_cold"], view, "the view of the honest vectors")
    empty = leak.take_answers(cut, "user_cold", 0.0, 1).pairs
    (_, users, items), = leak.fit_vectors(view, empty, 1, [2])  # fmt: skip
    scenario = cut.scenarios["user_cold"]
    other = replace(cut, scenarios={"user_cold": replace(scenario, query=scenario.query.select(np.arange(3)))})
    again = leak.knowing(replace(work, split=other), "user_cold")
    (_, users2, items2), = leak.fit_vectors(again, empty, 1, [2])  # fmt: skip
    assert (users == users2).all()
    assert (items == items2).all()


def test_what_saw_answers_cannot_be_used_elsewhere(lab, cut) -> None:
    view = leak.knowing(lab("popularity"), "user_cold")
    (_, users, items), = leak.fit_vectors(view, leak.take_answers(cut, "user_cold", 1.0, 1).pairs, 1, [1])  # fmt: skip
    vectors = leak.Vectors(view, users, items)
    assert vectors.config.kind not in MODELS
    for attempt in (vectors.tensors, lambda: vectors.adapt(cut.support("user_cold"))):
        with pytest.raises(ConfigError, match="leak experiment"):
            attempt()
    from metakg.data import Interactions, TrainView

    told = Interactions.concat(view.interactions, leak.take_answers(cut, "user_cold", 1.0, 1).pairs)
    with pytest.raises(LeakageError):  # the guard itself is as it was: pairs in a view are found
        check_view(cut, ["user_cold"], TrainView(view.vocabulary, told, view.graph), "a view with answers")


def test_the_network_carries_the_vectors_too(lab) -> None:
    rows = rows_of(lab("metakg-paper"), "leak")
    assert {r["carrier"] for r in rows} == {"bpr", "metakg-paper"}
    assert all(r["leaked"] == (r["saw"] != "nothing") for r in rows)


def test_the_network_keeps_the_vectors_of_new_users(lab, cut, monkeypatch) -> None:
    """Were they lost on the way to the queries, a leak in them would look harmless."""
    work, seen, judge = lab("metakg-paper"), [], leak._judge
    graph = KnowledgeGraph(cut.dataset.graph.entity, cut.dataset.graph.user.select(np.zeros(len(cut.dataset.graph.user), bool)))
    work = replace(work, split=replace(cut, dataset=replace(cut.dataset, graph=graph)))  # users with nothing but clicks
    still = {"loop": {"epochs": 1, "learning_rate": 1e-12}, "adapt": {"epochs": 0}}
    work = replace(work, settings={"metakg-paper": merged(work.settings["metakg-paper"], {"training": still})})

    def watched(lab, fitted, *rest, **named):
        seen.append(fitted)
        return judge(lab, fitted, *rest, **named)

    monkeypatch.setattr(leak, "_judge", watched)
    (unit,) = (u for u in leak.units(work) if u.name == "metakg-paper, user_cold, saw as released, seed 1")
    unit.work(Desk(lambda words: None, {}, lambda: None, lambda words: None))
    (fitted,) = seen
    adapted, v = fitted.adapt(work.split.support("user_cold")), work.split.dataset.vocabulary
    rows = torch.from_numpy(fitted.view.vocabulary.users.rows(v.users.take(work.split.scenarios["user_cold"].users))).long()
    assert (rows >= 0).all()
    torch.testing.assert_close(adapted.model.node[rows], fitted.model.node[rows])


# -- measuring -------------------------------------------------------------------------------------------------------------


def test_propagation_weights_are_those_of_the_network(cut) -> None:
    for widths in ((8, 8), (8, 4)):
        model = MetaKG(MetaKGConfig(dim=8, dims=widths), cut.train, torch_generator(1, "x"))
        w = model.network.weights()
        assert parameters.propagation_weights(8, widths) == sum(t.numel() for t in (*w.w1, *w.w2))
    assert parameters.propagation_weights(64, (64, 64, 64)) == 24_576
    assert parameters.propagation_weights(64, (64, 32, 16)) == 13_312


def test_operations_of_dense_and_sparse_products() -> None:
    import torch
    from torch.nn.functional import embedding_bag

    with measure.Operations() as counted:
        torch.ones(3, 4) @ torch.ones(4, 5)
    assert counted.total == 2 * 3 * 4 * 5
    with measure.Operations() as counted:
        torch.zeros(3, 5).addmm_(torch.ones(3, 4), torch.ones(4, 5))
        torch.zeros(2, 3, 5).baddbmm_(torch.ones(2, 3, 4), torch.ones(2, 4, 5))
        torch.ones(3, 4).mv(torch.ones(4))
    assert counted.total == 3 * 2 * 3 * 4 * 5 + 2 * 3 * 4
    with measure.Operations() as counted:
        cols, rowptr, weights = torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3]), torch.ones(3)
        embedding_bag(cols, torch.ones(2, 7), rowptr, mode="sum", per_sample_weights=weights, include_last_offset=True)
    assert counted.total == 2 * 3 * 7


def test_parameters_count_what_the_model_has(lab) -> None:
    (row,) = rows_of(lab("metakg-paper"), "parameters")
    view = lab("metakg-paper").split.train
    nodes = view.n_users + view.n_entities
    assert row["parameters"] == row["vectors"] + row["weights"]
    assert row["vectors"] == nodes * 8
    assert row["step_operations"] > 0
    assert row["rank_operations"] >= 2 * view.n_items * 16


def test_a_stopwatch_ends_loops_and_scales_up(lab, cut) -> None:
    from metakg.engine import fit

    with measure.Stopwatch(3).looking() as watch:
        fit("metakg-paper", cut.train, **lab("metakg-paper").settings["metakg-paper"])
    start, main = watch.phases
    assert (start.module, main.module) == ("TransR", "MetaKG")
    assert main.seen <= 3
    (n, seconds, _), = main.sums  # fmt: skip
    assert main.row["epoch_s"] == pytest.approx(main.steps * seconds / n, abs=1e-4)


def test_steps_of_two_kinds_are_timed_and_scaled_up_apart(lab, cut, monkeypatch) -> None:
    """An epoch of kgat is passes over pairs, then over facts: scaling up the first kind alone would say too much."""
    from metakg.engine import fit

    settings = {"training": {"start": "xavier", "batch_size": 64, "facts": 64, "loop": {"epochs": 2}}}
    with measure.Stopwatch(6).looking() as watch:
        fit("kgat", cut.train, **settings)
    (phase,) = watch.phases
    assert len(phase.parts) == 2
    assert [part[0] for part in phase.sums] == [2, 3], "three steps of each, the loop's first left out"
    phase.sums = [(2, 2.0, 4.0), (3, 0.3, 0.6)]
    assert phase.epoch_s == pytest.approx(phase.parts[0] * 1.0 + phase.parts[1] * 0.1)
    phase.sums = [(2, 2.0, 4.0), (0, 0.0, 0.0)]
    assert phase.epoch_s == pytest.approx(phase.steps * 1.0), "what was not reached counts like the rest"


def test_part_of_a_split_is_nested_and_whole_at_one(cut) -> None:
    small, large, whole = (scalability.part_of(cut, share, 1) for share in (0.3, 0.6, 1.0))
    n = cut.dataset.vocabulary.n_items
    assert set(small.pairs.keys(n)) < set(large.pairs.keys(n)) < set(whole.pairs.keys(n)) == set(cut.pairs.keys(n))
    assert len(small.dataset.graph.entity) == round(0.3 * len(cut.dataset.graph.entity))
    assert identify(whole)["split"] == identify(cut)["split"]


def test_exponent_and_end_of_machine_by_hand() -> None:
    assert scalability.exponent([1, 10, 100], [2, 20, 200]) == pytest.approx(1.0)
    assert scalability.exponent([1, 10, 100], [1, 100, 10_000]) == pytest.approx(2.0)
    assert scalability.exponent([1, 10], [2, 20]) is None
    assert scalability.estimate_gb([(1, 0.5), (3, 0.9)], 10) == pytest.approx(0.9 + 0.2 * 7)
    assert scalability.estimate_gb([(1, 0.5)], 10) is None
    assert scalability.end_of_machine([(1, 0.5), (3, 0.9)], 4.9) == pytest.approx(23.0)


def test_a_size_runs_in_its_own_process_and_one_that_would_not_fit_is_refused(lab, monkeypatch) -> None:
    work = lab("popularity", millions=(0.01, 0.02, 0.04))
    monkeypatch.setattr(scalability, "SHARES", (1.0,))
    monkeypatch.setattr(scalability, "room", lambda: int(0.35 * 2**30))
    seen = {0.01: 0.2, 0.02: 0.3}

    def child(work, arguments, limits):
        return {"edges": int(arguments[2] * 1e6), "peak_gb": seen[arguments[2]], "rank_s": 0.1}

    monkeypatch.setattr(scalability, "in_child", child)
    sizes = [r for r in rows_of(work, "scalability") if r["what"] == "size"]
    assert [r.get("refused") for r in sizes] == [None, None, "memory"]
    assert sizes[2]["needs_gb"] == 0.5
    assert "edges" not in sizes[2]


def test_a_child_returns_its_own_peak_and_its_end_is_told() -> None:
    ours = np.ones(120_000_000)  # 0.9 GB that are the parent's and not the child's
    found = measure.in_child(scalability.measure_size, ("popularity", {}, 0.01, 20), measure.Limits())
    assert 0.05 < found["peak_gb"] < 0.8 * ours.nbytes / 2**30
    assert found["edges"] > 9000
    with pytest.raises(measure.ChildEnded, match="memory"):
        measure.in_child(scalability.measure_size, ("popularity", {}, 0.01, 20), measure.Limits(bytes=1))
    with pytest.raises(measure.ChildEnded, match="one of blend"):
        measure.in_child(scalability.measure_size, ("unknown", {}, 0.01, 20), measure.Limits())


def test_random_world_has_the_edges_asked_for() -> None:
    view = random_world(40_000, seed=2)
    assert 2 * (len(view.interactions) + len(view.graph.entity)) == pytest.approx(40_000, rel=0.05)
    assert view.tasks is not None
    assert (random_world(40_000, seed=2).interactions.items == view.interactions.items).all()


# -- what is refused -------------------------------------------------------------------------------------------------------


def test_a_folder_of_another_protocol_or_data_is_refused(lab, cut, tmp_path) -> None:
    identity = identify(cut)
    claim(tmp_path / "runs", identity, {}, 20)
    claim(tmp_path / "runs", identity, {}, 20)
    for name, value in (("protocol", "paper"), ("data", "0" * 64), ("split", "0" * 32)):
        with pytest.raises(DataError, match=f"runs of the {name}"):
            claim(tmp_path / "runs", {**identity, name: value}, {}, 20)
    cut.dataset.save(tmp_path / "data")
    with pytest.raises(DataError, match="kind 'dataset'"):
        claim(tmp_path / "data", identity, {}, 20)


@pytest.mark.parametrize(
    ("protocol", "kept", "goes_on"), [("paper", None, False), ("strict", None, True), ("paper", "support", False)]
)
def test_rows_by_the_older_mask_are_not_gone_on_with(cut, tmp_path, protocol: str, kept: str | None, goes_on: bool) -> None:
    """Manifests did not name the mask when the paper protocol left out the support alone."""
    identity = {**identify(cut), "protocol": protocol}
    claim(tmp_path, identity, {}, 20)
    made = json.loads((tmp_path / "manifest.json").read_text())
    assert made.pop("mask") == "support+train"
    (tmp_path / "manifest.json").write_text(json.dumps(made if kept is None else {**made, "mask": kept}))
    if goes_on:
        claim(tmp_path, identity, {}, 20)
        return
    with pytest.raises(DataError, match="runs that were judged with 'support' left out"):
        claim(tmp_path, identity, {}, 20)


def test_rows_whose_ties_the_files_broke_are_not_gone_on_with(cut, tmp_path) -> None:
    claim(tmp_path, identify(cut), {}, 20)
    claim(tmp_path, identify(cut), {}, 20)
    made = json.loads((tmp_path / "manifest.json").read_text())
    assert made.pop("ties") == "lot"
    (tmp_path / "manifest.json").write_text(json.dumps(made))
    with pytest.raises(DataError, match="ties were broken by row"):
        claim(tmp_path, identify(cut), {}, 20)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of table3"):
        chosen("table4")
    with pytest.raises(ConfigError, match="'metkag'"):
        ordered(["metkag"])
    assert chosen("leak, table3,leak") == ["leak", "table3"]
    assert ordered(["metakg", "walk", "metakg-paper", "popularity"]) == ("popularity", "walk", "metakg-paper", "metakg")
    assert ordered(list(MODELS))[: len(FLOORS)] == FLOORS
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}) == {"a": {"b": 1, "c": 3}}


def test_a_run_taken_over_is_kept_at_the_cut_off_asked_for(lab, cut, tmp_path) -> None:
    compare(cut, ["blend", "item-knn"], k=20, keep=tmp_path / "kept")
    work = replace(lab("blend", "item-knn"), k=10, compared=tmp_path / "kept")
    report, _ = experiment(work, ["table3"], about={"name": "shop"})
    assert len(report.done) == 2
    for folder in (work.folder / "kept").iterdir():
        found = Evaluation.load(folder)
        assert {k for result in found.results for _, k in result.values} == {10}
        assert {k for result in found.results for k in result.coverage} == {10}
    from metakg.report import collect

    runs = collect(work.folder)
    floor = runs.best_floor()
    assert {row["against"] for row in runs.tests["table3"]} == {floor}
    for row in runs.quality("table3"):
        low, high = runs.intervals[row["model"], row["scenario"], row["metric"]]
        assert low <= row["mean"] <= high


def test_a_training_outlives_a_stop_while_it_is_judged(lab, monkeypatch) -> None:
    work, real = lab("metakg-paper"), Lab.judge

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lab, "judge", stopped)
    with pytest.raises(KeyboardInterrupt):
        experiment(work, ["table3"], about={"name": "shop"})
    (place,) = (work.folder / "work").iterdir()
    trained = json.loads((place / "cost.json").read_text())
    steps: list[int] = []
    monkeypatch.setattr(Lab, "judge", real)
    with watching(lambda loop, progress: steps.append(type(loop.source).__name__)):
        rows = rows_of(work, "table3")
    assert "TaskBatches" not in steps, "nothing is trained again"
    (cost,) = [row for row in rows if row["what"] == "cost"]
    assert cost["fit_s"] == trained["fit_s"], "what the training took, not what opening it again did"
    assert any(row["what"] == "curve" for row in rows)
    assert not any((work.folder / "work").iterdir())
    again = rows_of(replace(work, folder=work.folder.parent / "whole"), "table3")
    quality = [[row["mean"] for row in found if row["what"] == "quality"] for found in (rows, again)]
    assert quality[0] == quality[1]


def test_one_folder_has_one_cut_off(lab) -> None:
    rows_of(lab("popularity"), "table3")
    with pytest.raises(DataError, match=r"cut off at 20; expected 10, as asked for. Say -k 20"):
        experiment(replace(lab("popularity"), k=10), ["sensitivity"], about={"name": "shop"})


def test_a_folder_made_before_learns_which_published_figures_are_of_its_data(cut, tmp_path) -> None:
    identity = identify(cut)
    claim(tmp_path, identity, {"name": "shop"}, 20)
    claim(tmp_path, identity, {"name": "other", "reference": "last-fm"}, 20)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["name"], manifest["reference"], manifest["k"]) == ("shop", "last-fm", 20)


def test_a_refused_start_makes_no_file(lab) -> None:
    work = lab("popularity")
    rows_of(work, "table3")
    with pytest.raises(DataError, match="rows of an earlier run"):
        experiment(work, ["sensitivity", "table3"], about={"name": "shop"})
    assert not (work.folder / "sensitivity.jsonl").exists()


def test_the_leak_goes_through_the_released_network_too(lab, cut) -> None:
    released = {
        "arch": "code",
        "inner": "gate",
        "readout": "sum0",
        "normalise": "everywhere",
        "dim": 8,
        "dims": [8, 8],
        "training": {"loop": {"epochs": 1}, "adapt": {"epochs": 1}},
    }
    work = replace(lab("metakg-paper"), settings={"metakg-paper": released})
    unit = next(u for u in leak.units(work) if u.name.startswith("metakg-paper") and u.rule["saw"] == "nothing")
    (row,) = [r for r in unit.work(Desk(lambda words: None, {}, lambda: None, lambda words: None)) if r["metric"] == "recall"]
    assert 0 <= row["mean"] <= 1


def test_only_a_kill_of_the_system_counts_as_too_little_memory() -> None:
    with pytest.raises(measure.ChildEnded, match=r"\(memory\).*exit code -9"):
        measure.in_child(_killed, (), measure.Limits())
    with pytest.raises(measure.ChildEnded, match=r"\(work\).*exit code 3"):
        measure.in_child(_left, (), measure.Limits())


def test_a_measurement_ends_with_the_run_that_waits_for_it(tmp_path) -> None:
    """A killed run leaves nobody behind who goes on for hours, and holds all memory."""
    told = tmp_path / "pid"
    waits = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from metakg.experiments import measure\n"
        "from child_of_test import stays\n"
        "if __name__ == '__main__':\n"
        "    measure.in_child(stays, (sys.argv[2],), measure.Limits())\n"
    )
    stays = (
        "import os, time\nfrom pathlib import Path\n\n\ndef stays(told):\n"
        "    Path(told).write_text(str(os.getpid()))\n    time.sleep(120)\n    return {}\n"
    )
    (tmp_path / "child_of_test.py").write_text(stays)
    (tmp_path / "waits.py").write_text(waits)
    run = subprocess.Popen([sys.executable, str(tmp_path / "waits.py"), str(tmp_path), str(told)])
    try:
        _until(lambda: told.exists() and told.read_text())
        child = int(told.read_text())
        assert _alive(child)
    finally:
        run.kill()
        run.wait()
    _until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # nobody may have collected it yet
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def _until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


def _killed() -> dict:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _left() -> dict:
    os._exit(3)
