"""`evaluate`: the right pairs reach the right place, and an answer that is visible stops the run."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metakg.data import Interactions, Tasks, TrainView
from metakg.errors import DataError, LeakageError, TrainingError
from metakg.evaluation import evaluate
from metakg.evaluation.ranking import Lots, rank
from metakg.models.registry import build, config_for
from metakg.testing import planted_split


def pairs(*rows: tuple[int, int]) -> Interactions:
    table = np.array(rows, np.int32).reshape(-1, 2)
    return Interactions(table[:, 0].copy(), table[:, 1].copy())


class ByNumber:
    """Makes every adapted model score item i<n> with -n: the list of everybody is i0, i1, i2, ... less what is masked."""

    def __new__(cls, given_model, view, **overrides):
        class Falling(given_model):
            def score_all(self, users):
                ids = self.view.vocabulary.items.array.to_pylist()
                scores = torch.tensor([-float(name[1:]) for name in ids])
                for name, score in overrides.items():
                    if name in ids:
                        scores[ids.index(name)] = score
                return scores.repeat(len(users), 1)

        return Falling(view, torch.zeros(view.n_users, view.n_items))


@pytest.fixture
def falling(given_model, toy):
    return ByNumber(given_model, toy.train)


def test_values_by_hand(falling, toy):
    result = evaluate(falling, toy, k=[1, 3]).result("user_cold")
    # u3 had i0, i1 and is asked for i2, i3; u4 had i0, i2 and is asked for i1; u5 had nothing and is asked for i0, i4, i5.
    # New items i6, i7 arrive with the scenario and are ranked too, behind the others.
    assert result.users.to_pylist() == ["u3", "u4", "u5"]
    assert result.relevant.tolist() == [2, 1, 3]
    assert result.revealed.tolist() == [2, 2, 0]
    assert result.values["recall", 1].tolist() == [1 / 2, 1, 1 / 3]
    assert result.values["recall", 3].tolist() == [1, 1, 1 / 3]
    assert result.values["precision", 3].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert result.coverage == {1: 3 / 8, 3: 5 / 8}  # i2, i1, i0; then i2 i3 i4, i1 i3 i4, i0 i1 i2
    assert result.n_ranked == 8
    assert result.adapt_s >= 0
    assert result.rank_s > 0


def test_rows_and_switches(falling, toy):
    table = evaluate(falling, toy, scenarios=["user_cold"], k=3, metric_names=["recall"], model="mine", seed=4)
    common = {"model": "mine", "scenario": "user_cold", "protocol": "strict", "shots": None, "k": 3, "n_users": 3, "seed": 4}
    common |= {"mask": "support+train", "candidates": "all"}
    assert table.rows == [
        {**common, "metric": "recall", "mean": pytest.approx(7 / 9)},
        {**common, "metric": "coverage", "mean": 5 / 8},
        {**common, "metric": "tied", "mean": 0.0},
    ]


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_what_was_clicked_in_training_is_left_out_of_every_list(falling, toy, protocol):
    # In item_cold, u0 has trained on i0, i1 and is asked for i6; u1 on i0, i2, and i7 is in his support.
    split = replace(toy, protocol=protocol)
    found = evaluate(falling, split, scenarios="item_cold", k=4)
    assert found.mask == "support+train"
    assert found.result("item_cold").values["recall", 4].tolist() == [0, 0, 0]
    assert evaluate(falling, split, scenarios="item_cold", k=5).result("item_cold").values["recall", 5].tolist() == [1, 1, 0]
    theirs = evaluate(falling, split, scenarios="item_cold", k=6, mask="support")
    assert theirs.mask == "support"
    assert theirs.result("item_cold").values["recall", 6].tolist() == [0, 0, 0]


def test_the_whole_support_is_masked_at_every_number_of_shots(falling, toy):
    table = evaluate(falling, toy, scenarios=["user_cold"], k=3, shots=[0, 1, None])
    assert [result.shots for result in table.results] == [0, 1, None]
    assert [result.revealed.tolist() for result in table.results] == [[0, 0, 0], [1, 1, 0], [2, 2, 0]]
    assert len({tuple(result.values["recall", 3].tolist()) for result in table.results}) == 1
    assert [len(support) for support in falling.seen] == [0, 2, 4]
    assert table.results[1].name == "user_cold at 1 shot"


def test_the_scenarios_own_number_of_shots(falling, toy):
    cold = replace(toy.scenarios["user_cold"], default_shots=1)
    split = replace(toy, scenarios={"user_cold": cold})
    assert [result.shots for result in evaluate(falling, split, k=3).results] == [1]
    assert [result.shots for result in evaluate(falling, split, k=3, shots=[None, 0, 1]).results] == [1, 0]


def test_all_shots_are_all_whatever_the_scenarios_own_number(falling, toy):
    cold = replace(toy.scenarios["user_cold"], default_shots=0)
    split = replace(toy, scenarios={"user_cold": cold})
    found = evaluate(falling, split, k=3, shots=[0, 1, "all"]).results
    assert [result.shots for result in found] == [0, 1, 2]
    assert found[-1].revealed.tolist() == [2, 2, 0]
    assert evaluate(falling, split, k=3, shots="all").results[0].revealed.tolist() == [2, 2, 0]
    assert evaluate(falling, toy, scenarios=["user_cold"], k=3, shots="all").results[0].shots is None
    assert [result.shots for result in evaluate(falling, split, k=3, shots=np.arange(2)).results] == [0, 1]
    for wrong in ("5", [0.5], [-1]):
        with pytest.raises(ValueError, match="shots are numbers from 0, 'all', or None"):
            evaluate(falling, split, k=3, shots=wrong)


def test_a_scenario_named_twice_is_judged_once_and_the_rules_are_said(falling, toy):
    found = evaluate(falling, toy, scenarios=["user_cold", "user_cold"], k=3, mask="support", candidates="scenario")
    assert [result.scenario for result in found.results] == ["user_cold"]
    assert f"protocol {toy.protocol}, scenario items ranked, mask support" in str(found)


def test_a_scenario_that_reveals_nothing_is_judged_once(falling, toy):
    cold = replace(toy.scenarios["user_cold"], support=Interactions.empty())
    split = replace(toy, scenarios={"user_cold": cold, "item_cold": toy.scenarios["item_cold"]})
    found = evaluate(falling, split, k=3, shots=[0, 1]).results
    assert [(result.scenario, result.shots) for result in found] == [("user_cold", None), ("item_cold", 0), ("item_cold", 1)]


def test_candidates_of_the_scenario(falling, toy):
    result = evaluate(falling, toy, scenarios=["item_cold"], k=2, candidates="scenario").result("item_cold")
    assert result.n_ranked == 2
    # u0: i6, i7; u1: i6 (i7 is his support); u2: i7 (i6 is his support)
    assert result.values["mrr", 2].tolist() == [1, 1, 1]
    assert result.coverage == {2: 1.0}


def test_the_recommender_gets_clicks_and_nothing_of_the_query(falling, toy):
    evaluate(falling, toy, k=3)
    first, second = falling.seen
    assert list(zip(first.users.to_pylist(), first.items.to_pylist(), strict=True)) == [
        ("u3", "i0"),
        ("u3", "i1"),
        ("u4", "i2"),
        ("u4", "i0"),
    ]
    assert first.newcomers.to_pylist() == ["u3", "u4", "u5"]
    assert second.items.to_pylist() == ["i6", "i7"]
    assert falling.view.n_users == 3


def test_an_engine_may_be_given(falling, toy):
    assert evaluate(SimpleNamespace(recommender=falling), toy, k=3).rows == evaluate(falling, toy, k=3).rows


def test_real_floors_run_through(toy):
    for kind in ("popularity", "kg-knn"):
        table = evaluate(build(config_for(kind), toy.train, 1), toy, k=[1, 3], shots=[0, None])
        assert len(table.results) == 4
        assert all(0 <= row["mean"] <= 1 for row in table.rows)


def test_a_query_pair_in_training_is_refused(falling, toy):
    leaky = replace(toy, pairs=Interactions.concat(toy.pairs, pairs((0, 6))), known_items=np.ones(8, np.bool_))
    message = r"scenario item_cold: found 1 of 3 query pairs in the training pairs \(user 'u0' with item 'i6'\)"
    with pytest.raises(LeakageError, match=message):
        evaluate(falling, leaky, k=3)
    assert falling.seen == []


def test_a_query_pair_in_the_support_is_refused(falling, toy):
    cold = toy.scenarios["user_cold"]
    cold = replace(cold, support=Interactions.concat(cold.support, pairs((5, 4), (5, 5), (3, 2), (4, 1))))
    with pytest.raises(LeakageError, match=r"4 of 6 query pairs in the support \(user 'u3' with item 'i2', "):
        evaluate(falling, replace(toy, scenarios={"user_cold": cold}), k=3)


def test_a_query_pair_in_a_task_is_refused(falling, toy):
    everybody = np.ones(6, np.bool_)
    for support, query, where in (
        (pairs((3, 2)), pairs((3, 4)), "task support"),
        (pairs((3, 4)), pairs((3, 2)), "task query"),
    ):
        leaky = replace(toy, tasks=Tasks(np.array([3], np.int32), support, query), known_users=everybody)
        with pytest.raises(LeakageError, match=where):
            evaluate(falling, leaky, k=3)


def test_a_recommender_that_saw_an_answer_is_refused(given_model, toy):
    view, v = toy.train, toy.train.vocabulary
    answer = Interactions(v.users.rows(["u0"]), v.items.rows(["i5"]))
    asked = replace(toy.scenarios["item_cold"], query=pairs((0, 5)))
    split = replace(toy, scenarios={"item_cold": asked})
    peeking = TrainView(v, Interactions.concat(view.interactions, answer), view.graph)
    with pytest.raises(LeakageError, match=r"1 of 1 query pairs in the training view of given \(user 'u0' with item 'i5'\)"):
        evaluate(ByNumber(given_model, peeking), split, k=3)
    in_tasks = TrainView(v, view.interactions, view.graph, Tasks(answer.users, Interactions.empty(), answer))
    with pytest.raises(LeakageError, match=r"the training view of given, its tasks' queries \(user 'u0' with item 'i5'\)"):
        evaluate(ByNumber(given_model, in_tasks), split, k=3)


def test_a_recommender_that_finds_an_answer_while_adapting_is_refused(given_model, toy):
    class Peeking(given_model):
        def adapt(self, support):
            adapted = super().adapt(support)
            v = adapted.view.vocabulary
            answer = Interactions(v.users.rows(["u5"]), v.items.rows(["i4"]))
            adapted.view = replace(adapted.view, interactions=Interactions.concat(adapted.view.interactions, answer))
            return adapted

    model = Peeking(toy.train, torch.zeros(toy.train.n_users, toy.train.n_items))
    with pytest.raises(LeakageError, match=r"what given knows after adapting \(user 'u5' with item 'i4'\)"):
        evaluate(model, toy, scenarios=["user_cold"], k=3)


def test_without_adapting_new_users_and_items_are_named(falling, toy):
    with pytest.raises(DataError, match="scenario user_cold: found 3 users that the model does not know: 'u3', 'u4', 'u5'"):
        evaluate(falling, toy, scenarios=["user_cold"], adapt=False)
    with pytest.raises(DataError, match="scenario item_cold: found 2 items that the model does not know: 'i6', 'i7'"):
        evaluate(falling, toy, scenarios=["item_cold"], adapt=False)


def test_without_adapting_a_model_that_knows_all_is_judged(given_model, toy):
    known = replace(toy, known_users=np.ones(6, np.bool_), known_items=np.ones(8, np.bool_))
    model = ByNumber(given_model, known.train)
    table = evaluate(model, known, k=3, adapt=False)
    assert model.seen == []
    assert table.result("user_cold").values["recall", 3].tolist() == [1, 1, 1 / 3]


def in_another_order(train: TrainView) -> TrainView:
    """Return the same training data with users and items in other rows, and without facts."""
    order = np.array([4, 0, 5, 1, 3, 2], np.int32)
    people = np.array([2, 0, 1], np.int32)
    place, seat = np.argsort(order).astype(np.int32), np.argsort(people).astype(np.int32)
    v = train.vocabulary
    entities = np.r_[order, np.arange(6, v.n_entities)].astype(np.int32)
    return TrainView(
        replace(v, users=v.users.select(people), items=v.items.select(order), entities=v.entities.select(entities)),
        Interactions(seat[train.interactions.users], place[train.interactions.items]),
        replace(train.graph, entity=type(train.graph.entity).empty()),
    )


def test_rows_of_the_model_may_differ_from_those_of_the_data(given_model, toy):
    views = (toy.train, in_another_order(toy.train))
    straight, shuffled = (evaluate(ByNumber(given_model, view), toy, k=[1, 3]) for view in views)
    assert shuffled.rows == straight.rows


def test_ties_stand_in_an_order_drawn_by_lot_over_ids(given_model, toy, monkeypatch):
    views, lists = (toy.train, in_another_order(toy.train)), []

    def remember(recommender, users, *args, **more):
        lists.append((recommender.view.vocabulary, users, rank(recommender, users, *args, **more).items))
        return rank(recommender, users, *args, **more)

    monkeypatch.setattr("metakg.evaluation.evaluator.rank", remember)
    alike = [given_model(view, torch.zeros(view.n_users, view.n_items)) for view in views]
    straight, shuffled = (evaluate(model, toy, k=[1, 3]) for model in alike)
    assert shuffled.rows == straight.rows
    shown = [
        {user: [v.items.id(int(item)) for item in row] for user, row in zip(v.users.ids(users), items, strict=True)}
        for v, users, items in lists
    ]
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    lots = Lots(np.array([3, 4, 5], np.int32), np.arange(8, dtype=np.int32))  # u3, u4, u5 of u0..u5; i0..i7
    had = {"u3": [0, 1], "u4": [0, 2], "u5": []}
    for place, (user, clicked) in enumerate(had.items()):
        left = np.setdiff1d(np.arange(8), clicked)
        assert shown[0][user] == [f"i{n}" for n in left[lots.of(place, left).argsort()][:3]]


def test_a_list_full_of_ties_is_as_good_as_chance(given_model) -> None:
    """No lot that all share: one item would be shown to everybody, and its luck be taken for skill."""
    split = planted_split()
    name = next(iter(split.scenarios))
    adapted = split.train.extend(split.support(name))
    alike = given_model(split.train, torch.zeros(split.train.n_users, split.train.n_items))
    result = evaluate(alike, split, scenarios=[name], k=5).result(name)
    unseen = adapted.n_items - result.revealed.mean()
    assert result.values["recall", 5].mean() == pytest.approx(5 / unseen, rel=0.5)
    assert result.coverage[5] > 0.5


def test_scores_that_are_no_numbers_name_model_and_user(given_model, toy):
    model = ByNumber(given_model, toy.train, i1=float("nan"))
    with pytest.raises(TrainingError, match="scores of given for user 'u3'"):
        evaluate(model, toy, k=3)


def test_perfect_and_tied_scores_are_noted(given_model, toy):
    perfect = ByNumber(given_model, toy.train, i6=9.0, i7=8.0)
    notes = evaluate(perfect, toy, scenarios=["item_cold"], k=2, metric_names=["recall", "hit"]).notes
    assert len(notes) == 1
    assert notes[0].startswith("given, item_cold: recall@2, hit@2 is exactly 1 for every user")
    indifferent = given_model(toy.train, torch.zeros(toy.train.n_users, toy.train.n_items))
    assert (
        "so that a lot decides what stands first: 100% in user_cold."
        in evaluate(indifferent, toy, scenarios=["user_cold"], k=2).notes[-1]
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scenarios": ["warm"]}, DataError, "scenario 'warm': found no such scenario"),
        ({"scenarios": "warm"}, DataError, "scenario 'warm': found no such scenario"),
        ({"k": 0}, ValueError, "k is one or more positive cut-offs"),
        ({"k": []}, ValueError, "k is one or more positive cut-offs"),
        ({"mask": "train"}, ValueError, "mask is"),
        ({"metric_names": ["ndgc"]}, ValueError, "unknown metric 'ndgc'"),
    ],
)
def test_bad_arguments(falling, toy, arguments, error, message):
    with pytest.raises(error, match=message):
        evaluate(falling, toy, **arguments)
    assert falling.seen == []  # before any work


def test_an_empty_scenario_is_refused(falling, toy):
    empty = replace(toy.scenarios["user_cold"], query=Interactions.empty())
    with pytest.raises(DataError, match="no query pairs"):
        evaluate(falling, replace(toy, scenarios={"user_cold": empty}))
