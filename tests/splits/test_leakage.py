"""The overlap report sees an answer wherever it was put, and refuses it."""

from dataclasses import replace

import numpy as np
import pytest

from metakg.data import Dataset, Interactions, KnowledgeGraph, Tasks, Triples
from metakg.errors import LeakageError
from metakg.splits import overlap, refuse, split

NAMES = ("user_cold", "item_cold", "user_item_cold", "warm")


@pytest.fixture(params=["strict", "paper"])
def cut(request, build, some_clicks, some_facts):
    rule = {"rule.min_items": 4, "rule.n_query": 2} if request.param == "paper" else {}
    return split(build(some_clicks(13, users=90), some_facts(users=90)), request.param, **rule)


def leak(pairs, query, n=3):
    return Interactions.concat(pairs.pairs_only(), query.select(np.arange(n)).pairs_only())


def test_a_clean_split_has_none(cut):
    report = overlap(cut)
    assert set(report) == set(NAMES)
    for name, entry in report.items():
        assert entry["overlap"] == 0
        assert not any(entry["visible"].values())
        assert {"training_pairs", "task_support", "task_query", "support", "user_facts", "validation"} == set(entry["visible"])
        assert entry["query_pairs"] == len(cut.scenarios[name].query)
    refuse(cut)


def plant(cut, where, query):
    tasks, warm = cut.tasks, cut.scenarios["warm"]
    if where == "training_pairs":
        return replace(cut, pairs=leak(cut.pairs, query))
    if where == "task_support":
        return replace(cut, tasks=Tasks(tasks.users, leak(tasks.support, query), tasks.query))
    if where == "task_query":
        return replace(cut, tasks=Tasks(tasks.users, tasks.support, leak(tasks.query, query)))
    if where == "support":
        return replace(cut, scenarios={**cut.scenarios, "warm": replace(warm, support=leak(warm.support, query))})
    graph, shown = cut.dataset.graph, query.select(np.arange(3))
    likes = Triples.concat(graph.user, Triples(shown.users, np.zeros(3, np.int32), shown.items))
    data = cut.dataset
    return replace(cut, dataset=Dataset(data.vocabulary, data.interactions, KnowledgeGraph(graph.entity, likes)))


@pytest.mark.parametrize("where", ["training_pairs", "task_support", "task_query", "support", "user_facts"])
def test_three_answers_are_found_anywhere(cut, where):
    query = cut.scenarios["warm"].query
    leaky = plant(cut, where, query)
    entry = overlap(leaky)["warm"]
    assert entry["visible"][where] == 3
    assert sum(entry["visible"].values()) == 3
    assert entry["overlap"] == pytest.approx(3 / len(query))
    v = cut.dataset.vocabulary
    user, item = v.users.id(query.users[0]), v.items.id(query.items[0])
    place = where.replace("_", " ")
    message = rf"warm: found 3 of {len(query)} query pairs in the {place} \(user '{user}' with item '{item}'"
    with pytest.raises(LeakageError, match=message):
        refuse(leaky)


def test_an_answer_on_which_choices_are_made_is_found(cut):
    query = cut.scenarios["warm"].query
    if cut.protocol == "strict":  # in rows of the training part
        old, new = cut.dataset.vocabulary, cut.validation.dataset.vocabulary
        query = Interactions(new.users.rows(old.users.take(query.users)), new.items.rows(old.items.take(query.items)))
    uc = cut.validation.scenarios["user_cold"]
    scenarios = {**cut.validation.scenarios, "user_cold": replace(uc, query=leak(uc.query, query))}
    inner = replace(cut.validation, scenarios=scenarios)
    leaky = replace(cut, validation=inner)
    assert overlap(leaky)["warm"]["visible"]["validation"] == 3
    with pytest.raises(LeakageError, match=r"scenario warm: found 3 of .* in the validation"):
        refuse(leaky)


def test_a_leak_within_the_validation_split_is_refused(cut):
    inner = cut.validation
    leaky = replace(cut, validation=replace(inner, pairs=leak(inner.pairs, inner.scenarios["warm"].query)))
    with pytest.raises(LeakageError, match="validation scenario warm: found 3 of"):
        refuse(leaky)


def test_what_other_scenarios_reveal_is_counted_for_information(cut):
    uc = cut.scenarios["user_cold"]
    shown = replace(cut.scenarios["user_item_cold"], support=leak(cut.scenarios["user_item_cold"].support, uc.query, 5))
    changed = replace(cut, scenarios={**cut.scenarios, "user_item_cold": shown})
    before = overlap(cut)["user_cold"]["elsewhere"]["user_item_cold"]
    entry = overlap(changed)["user_cold"]
    assert entry["overlap"] == 0
    assert entry["elsewhere"]["user_item_cold"] >= max(before, 5)
    refuse(changed)


def test_the_report_agrees_with_sets(cut, ids):
    leaky = plant(cut, "training_pairs", cut.scenarios["warm"].query)
    query, training = set(ids(leaky.scenarios["warm"].query, leaky.dataset)), set(ids(leaky.pairs, leaky.dataset))
    assert overlap(leaky)["warm"]["visible"]["training_pairs"] == len(query & training)
