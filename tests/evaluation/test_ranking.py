"""`rank`: masks, candidates, ties, blocks, and scores that are no numbers."""

import numpy as np
import pytest
import torch
from scipy import sparse

from metakg.errors import TrainingError
from metakg.evaluation.ranking import Lots, rank


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


@pytest.fixture
def dense(given_model, empty_view):
    def make(scores) -> object:
        scores = torch.as_tensor(scores, dtype=torch.float32)
        return given_model(empty_view(*scores.shape), scores)

    return make


@pytest.fixture
def factors(given_model, empty_view):
    def make(users, items) -> object:
        vectors = [torch.as_tensor(v, dtype=torch.float32) for v in (users, items)]
        return given_model(empty_view(len(users), len(items)), vectors=tuple(vectors))

    return make


def test_a_list_by_hand(dense):
    model = dense([[0.1, 0.5, 0.5, 0.9], [0.0, 0.0, 0.0, 0.0]])
    ranked = rank(model, rows(0, 1), 3)
    assert ranked.items.tolist() == [[3, 1, 2], [0, 1, 2]]
    assert ranked.items.dtype == np.int32
    np.testing.assert_array_equal(ranked.scores, np.array([[0.9, 0.5, 0.5], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(ranked.tied, [2 / 3, 1])


def test_a_tie_just_behind_the_list_counts(dense):
    model = dense([[3.0, 2.0, 1.0, 1.0], [3.0, 2.0, 1.0, 0.0]])
    assert rank(model, rows(0, 1), 3).tied.tolist() == pytest.approx([1 / 3, 0])
    assert rank(model, rows(0, 1), 2).tied.tolist() == [0, 0]


def test_users_may_come_in_any_order_and_twice(dense):
    model = dense(np.eye(3))
    assert rank(model, rows(2, 0, 2), 1).items.tolist() == [[2], [0], [2]]


def test_masked_items_never_appear(dense):
    model = dense([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]])
    lists = [rows(0, 2), rows()]
    matrix = sparse.csr_array(np.array([[1, 0, 1, 0], [0, 0, 0, 0]]))
    for masked in (lists, matrix):
        ranked = rank(model, rows(0, 1), 3, masked)
        assert ranked.items.tolist() == [[1, 3, -1], [0, 1, 2]]
        assert ranked.scores[0].tolist() == [3.0, 1.0, -np.inf]
        assert ranked.tied.tolist() == [0, 0]


def test_candidates_restrict_and_keep_the_order_of_rows(dense):
    model = dense([[1.0, 1.0, 1.0, 5.0, 1.0]])
    ranked = rank(model, rows(0), 3, [rows(0, 4)], candidates=rows(4, 2, 1, 2, 0))
    assert ranked.items.tolist() == [[1, 2, -1]]
    assert rank(model, rows(0), 2, candidates=rows()).items.tolist() == [[-1, -1]]


@pytest.mark.parametrize("ties", [False, True])
def test_blocks_and_paths_agree(dense, factors, ties):
    rng = np.random.default_rng(3)
    users, items = rng.normal(size=(23, 5)), rng.normal(size=(2600, 5))
    if ties:
        users, items = np.round(users), np.round(items)
    users, items = users.astype(np.float32), items.astype(np.float32)
    exact = (users.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)
    masked = [rng.choice(2600, 30, replace=False) for _ in users]
    candidates = np.sort(rng.choice(2600, 1900, replace=False)).astype(np.int32)
    everyone = np.arange(23, dtype=np.int32)
    for only in (None, candidates):
        wanted = rank(dense(exact), everyone, 20, masked, candidates=only)
        assert (wanted.tied.max() > 0) == ties
        hidden = np.zeros(exact.shape, np.bool_)
        for row, items_of in enumerate(masked):
            hidden[row, items_of] = True
        assert not np.take_along_axis(hidden, wanted.items, 1).any()
        for model in (dense(exact), factors(users, items)):
            for block in (1, 5, 23, 1000):
                for precision in ("bfloat16", "float32"):
                    ranked = rank(model, everyone, 20, masked, candidates=only, block=block, precision=precision)
                    np.testing.assert_array_equal(ranked.items, wanted.items)
                    np.testing.assert_array_equal(ranked.scores, wanted.scores)
                    np.testing.assert_array_equal(ranked.tied, wanted.tied)


@pytest.mark.parametrize("n_items", [30, 2600])
def test_equal_scores_stand_in_the_order_of_lots(dense, factors, n_items):
    rng = np.random.default_rng(5)
    users, items = (
        rng.integers(-1, 2, size=(23, 3)).astype(np.float32),
        rng.integers(-1, 2, size=(n_items, 3)).astype(np.float32),
    )
    scores, everyone = users @ items.T, np.arange(23, dtype=np.int32)
    masked = [rng.choice(n_items, 12, replace=False) for _ in users]
    lots = Lots(rng.permutation(1000)[:23].astype(np.int32), rng.permutation(n_items).astype(np.int32))
    for only in (None, np.sort(rng.choice(n_items, n_items // 2, replace=False)).astype(np.int32)):
        ranked = [
            rank(model, everyone, 20, masked, candidates=only, lots=lots, block=block)
            for model in (dense(scores), factors(users, items))
            for block in (1, 7, 1000)
        ]
        for row in range(23):
            left = np.setdiff1d(np.arange(n_items) if only is None else only, masked[row])
            wanted = left[np.lexsort((lots.of(row, left), -scores[row, left]))][:20]
            for found in ranked:
                assert found.items[row].tolist() == [*wanted, *[-1] * (20 - len(wanted))]
                np.testing.assert_array_equal(found.scores[row, : len(wanted)], scores[row, wanted])


def test_of_two_items_that_tie_for_the_last_place_each_is_drawn_half_of_the_time(dense):
    """One order for all, or one that all walk from places of their own, would give most users the same of the two."""
    scores = np.zeros((600, 50), np.float32)
    scores[:, :2], scores[:, 2] = 1.0, 2.0
    model, everyone = dense(scores), np.arange(600, dtype=np.int32)
    for seed in range(5):
        numbers = np.random.default_rng(seed).permutation(50).astype(np.int32)
        ranked = rank(model, everyone, 2, lots=Lots(everyone, numbers))
        assert (ranked.items[:, 0] == 2).all()
        assert 0.4 < (ranked.items[:, 1] == 0).mean() < 0.6
        assert set(ranked.items[:, 1].tolist()) == {0, 1}


def test_no_two_items_draw_the_same_lot_and_a_user_is_no_item():
    lots = Lots(rows(3, 4), np.arange(100_000, dtype=np.int32))
    one, other = (lots.of(user, np.arange(100_000)) for user in (0, 1))
    assert len(np.unique(one)) == 100_000
    assert abs(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1]) < 0.02


def test_permuted_users_permute_the_lists(factors):
    rng = np.random.default_rng(4)
    model = factors(rng.normal(size=(40, 8)), rng.normal(size=(3000, 8)))
    order = rng.permutation(40).astype(np.int32)
    np.testing.assert_array_equal(rank(model, order, 10).items, rank(model, np.arange(40, dtype=np.int32), 10).items[order])


def test_blocks_follow_from_the_budget(dense, monkeypatch):
    monkeypatch.setattr("metakg.evaluation.ranking.SCORE_BYTES", 4 * 10 * 4)
    model = dense(np.zeros((10, 10)))
    rank(model, np.arange(10, dtype=np.int32), 2)
    assert model.asked == [4, 4, 2]


def test_the_model_is_left_as_it_was(dense, factors):
    scores = torch.arange(6.0).view(2, 3)
    model = dense(scores.clone())
    model.inner = torch.nn.Dropout()
    model.inner.eval()
    model.train()
    model.inner.eval()
    rank(model, rows(0, 1), 2, [rows(2), rows(2)])
    assert model.training
    assert not model.inner.training
    assert torch.equal(model.scores, scores)


def test_the_model_is_left_as_it_was_after_an_error(dense):
    model = dense([[np.nan]])
    with pytest.raises(TrainingError):
        rank(model, rows(0), 1)
    assert model.training


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_refused(dense, bad):
    scores = np.zeros((4, 300))
    scores[2, 7] = scores[2, 9] = bad
    message = r"scores of given for user 'u2': found .*(nan|inf) for item 'i7' and 1 more; expected finite numbers"
    with pytest.raises(TrainingError, match=message):
        rank(dense(scores), np.arange(4, dtype=np.int32), 3)
    assert rank(dense(scores), rows(0, 1, 3), 3).items.shape == (3, 3)


def test_scores_too_large_to_be_added_up_are_fine(dense):
    scores = np.full((1, 50), 3e38)
    scores[0, 4] = 3.3e38
    assert rank(dense(scores), rows(0), 2).items.tolist() == [[4, 0]]


@pytest.mark.parametrize(("user", "item", "named"), [(np.nan, 1.0, "u1"), (1.0, np.inf, "i5"), (1e25, 1e25, "u1")])
def test_vectors_that_are_no_numbers_are_refused(factors, user, item, named):
    users, items = np.ones((3, 2)), np.ones((8, 2))
    users[1, 0], items[5, 0] = user, item
    with pytest.raises(TrainingError, match=f"'{named}'"):
        rank(factors(users, items), np.arange(3, dtype=np.int32), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is a positive number of items, not 0"),
        ({"users": rows(2)}, r"users must be rows 0\.\.1, not 2\.\.2"),
        ({"block": 0}, "block is a positive number of users"),
        ({"candidates": rows(3)}, r"candidates must be rows 0\.\.2, not 3\.\.3"),
        ({"masked": [rows(0)]}, "masked has 1 lists, but there are 2 users"),
        ({"masked": [rows(0), rows(-1)]}, r"masked items must be rows 0\.\.2, not -1\.\.0"),
        ({"masked": sparse.csr_array((2, 4))}, r"masked is \(2, 4\), but there are 2 users and 3 items"),
    ],
)
def test_bad_arguments(dense, arguments, message):
    with pytest.raises(ValueError, match=message):
        rank(dense(np.zeros((2, 3))), **({"users": rows(0, 1), "k": 1} | arguments))


def test_models_that_break_their_promise_are_named(given_model, empty_view):
    wrong = given_model(empty_view(2, 3), torch.zeros(2, 4))
    with pytest.raises(TypeError, match=r"given.score_all must return \(1, 3\) float32, not \(1, 4\)"):
        rank(wrong, rows(0), 1)
    wrong = given_model(empty_view(2, 3), vectors=(torch.zeros(2, 4), torch.zeros(3, 5)))
    with pytest.raises(TypeError, match=r"given.factors must return float32 vectors of one width for 1 users and 3 items"):
        rank(wrong, rows(0), 1)


def test_nobody_to_rank(dense, factors):
    for model in (dense(np.zeros((2, 3))), factors(np.zeros((2, 4)), np.zeros((3, 4)))):
        assert rank(model, rows(), 5).items.shape == (0, 5)


@pytest.mark.gpu
def test_the_same_on_a_gpu(factors, dense):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(5)
    users, items = rng.normal(size=(300, 64)).astype(np.float32), rng.normal(size=(5000, 64)).astype(np.float32)
    masked = [rng.choice(5000, 30, replace=False) for _ in users]
    everyone = np.arange(300, dtype=np.int32)
    for model in (factors(users, items), dense(np.round(users @ items.T))):
        wanted = rank(model, everyone, 20, masked)
        model.register_buffer("place", torch.zeros(1, device="cuda"))
        if model.vectors is None:
            model.scores = model.scores.cuda()
        else:
            model.vectors = tuple(v.cuda() for v in model.vectors)
        for precision in ("auto", "bfloat16", "float32"):
            ranked = rank(model, everyone, 20, masked, precision=precision)
            np.testing.assert_array_equal(ranked.items, wanted.items)
            np.testing.assert_array_equal(ranked.scores, wanted.scores)
