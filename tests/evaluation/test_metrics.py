"""Metrics: by hand, against trec_eval, and what must hold for any list."""

import subprocess
import sys
from math import log2

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.evaluation.metrics import METRICS, compute, find_hits

NAMES = tuple(METRICS)


def test_values_by_hand():
    # Three users, five places. First: hits at 2 and 5 of three relevant; second: perfect, two relevant; third: nothing.
    hits = np.array([[0, 1, 0, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.bool_)
    found = compute(hits, np.array([3, 2, 1]), [1, 3, 5])
    expected = {
        ("recall", 1): [0, 1 / 2, 0],
        ("recall", 3): [1 / 3, 1, 0],
        ("recall", 5): [2 / 3, 1, 0],
        ("precision", 1): [0, 1, 0],
        ("precision", 3): [1 / 3, 2 / 3, 0],
        ("precision", 5): [2 / 5, 2 / 5, 0],
        ("hit", 1): [0, 1, 0],
        ("hit", 3): [1, 1, 0],
        ("hit", 5): [1, 1, 0],
        ("mrr", 1): [0, 1, 0],
        ("mrr", 3): [1 / 2, 1, 0],
        ("mrr", 5): [1 / 2, 1, 0],
        ("map", 1): [0, 1 / 2, 0],
        ("map", 3): [1 / 2 / 3, 1, 0],
        ("map", 5): [(1 / 2 + 2 / 5) / 3, 1, 0],
        ("ndcg", 1): [0, 1, 0],
        ("ndcg", 3): [(1 / log2(3)) / (1 + 1 / log2(3) + 1 / 2), 1, 0],
        ("ndcg", 5): [(1 / log2(3) + 1 / log2(6)) / (1 + 1 / log2(3) + 1 / 2), 1, 0],
    }
    assert set(found) == set(expected)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-15, err_msg=str(key))


def test_ideal_gain_of_more_relevant_items_than_places():
    # Two hits in two places is the best that a list of two can do for somebody with ten relevant items.
    found = compute(np.array([[True, True]]), np.array([10]), [1, 2])
    assert found["ndcg", 2].tolist() == [1.0]
    assert found["recall", 2].tolist() == [0.2]
    assert found["map", 2].tolist() == [0.2]


def test_hits_are_found_by_user():
    items = np.array([[3, 1, -1], [1, 3, 0]], np.int32)
    hits, relevant = find_hits(items, np.array([0, 0, 1, 1]), np.array([1, 2, 3, 0]))
    assert hits.tolist() == [[False, True, False], [False, True, True]]
    assert relevant.tolist() == [2, 2]


def test_an_empty_place_is_no_hit():
    # Place -1 of the second user must not be read as the last item of the first.
    hits, _ = find_hits(np.array([[0], [-1]], np.int32), np.array([0, 1]), np.array([5, 2]))
    assert hits.tolist() == [[False], [False]]


def test_repeated_answers_are_refused():
    with pytest.raises(ValueError, match="twice"):
        find_hits(np.zeros((1, 1), np.int32), np.array([0, 0]), np.array([4, 4]))


@st.composite
def rankings(draw):
    """Random lists without repetition, and queries that may be longer than the lists."""
    n_items, n_users = draw(st.integers(2, 30)), draw(st.integers(1, 6))
    length = draw(st.integers(1, n_items))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    items = np.stack([rng.permutation(n_items)[:length] for _ in range(n_users)]).astype(np.int32)
    query = [rng.permutation(n_items)[: rng.integers(1, n_items + 1)] for _ in range(n_users)]
    users = np.repeat(np.arange(n_users), [len(q) for q in query])
    return items, users, np.concatenate(query)


@given(rankings())
@settings(max_examples=60, deadline=None)
def test_equal_to_trec_eval(ranking):
    items, users, answers = ranking
    ks = sorted({1, (items.shape[1] + 1) // 2, items.shape[1]})
    found = compute(*find_hits(items, users, answers), ks)
    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, i in zip(users, answers, strict=True)]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), 1.0 / (1 + place)) for u, row in enumerate(items) for place, i in enumerate(row)
    ]
    theirs = {
        "recall": ir_measures.R,
        "precision": ir_measures.P,
        "hit": ir_measures.Success,
        "mrr": ir_measures.RR,
        "map": ir_measures.AP,
        "ndcg": ir_measures.nDCG,
    }
    wanted = {theirs[name] @ k: (name, k) for name in NAMES for k in ks}
    values = list(ir_measures.iter_calc(list(wanted), qrels, run))
    assert len(values) == len(wanted) * len(items)
    for value in values:
        ours = found[wanted[value.measure]][int(value.query_id)]
        assert ours == pytest.approx(value.value, abs=1e-12), (value.measure, items, answers)


@given(rankings())
@settings(max_examples=60, deadline=None)
def test_properties(ranking):
    items, users, answers = ranking
    hits, relevant = find_hits(items, users, answers)
    ks = list(range(1, items.shape[1] + 1))
    found = compute(hits, relevant, ks)
    assert all(((values >= 0) & (values <= 1)).all() for values in found.values())
    for name in ("recall", "hit", "mrr", "map"):
        values = np.stack([found[name, k] for k in ks], axis=1)
        assert (np.diff(values, axis=1) >= 0).all(), name
    order = np.random.default_rng(0).permutation(len(items))
    for key, values in compute(hits[order], relevant[order], ks).items():
        np.testing.assert_array_equal(values, found[key][order])


def test_a_perfect_list_has_one_everywhere():
    relevant = np.array([1, 4, 20, 35])
    hits = np.arange(20) < relevant[:, None]
    for k in (1, 4, 20):
        found = compute(hits, relevant, [k])
        assert (found["ndcg", k] == 1.0).all()
        assert (found["mrr", k] == 1.0).all()


@pytest.mark.parametrize(
    ("ks", "relevant", "names", "message"),
    [
        ([0], [1], ("recall",), "cut-offs must lie in 1..3"),
        ([4], [1], ("recall",), "cut-offs must lie in 1..3"),
        ([], [1], ("recall",), "cut-offs must lie in 1..3"),
        ([1], [0], ("recall",), "needs a relevant item"),
        ([1], [1], ("recal",), "unknown metric 'recal'"),
    ],
)
def test_bad_arguments(ks, relevant, names, message):
    with pytest.raises(ValueError, match=message):
        compute(np.zeros((1, 3), np.bool_), np.array(relevant), ks, names)


def test_metrics_and_reports_do_without_torch():
    modules = ", ".join(f"metakg.evaluation.{name}" for name in ("metrics", "result", "significance", "report"))
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
