"""What a notebook shows of the public objects: sizes, in one line, and tables when printed."""

from __future__ import annotations

import pytest

import metakg
from metakg.testing import planted_split


def test_public_objects_show_their_sizes() -> None:
    cut = planted_split()
    data, view = cut.dataset, cut.train
    v = data.vocabulary
    sizes = f"{v.n_users:,} users, {v.n_items:,} items, {v.n_entities:,} entities, {v.n_relations:,} relations"
    assert (
        repr(data)
        == f"Dataset({sizes}, {len(data.interactions):,} interactions, {len(data.graph.entity):,} facts, 320 about users)"
    )
    assert repr(v.users) == f"IdMap({v.n_users:,} user ids)"
    assert repr(cut).startswith(f"Split({cut.protocol}, {len(cut.pairs):,} training pairs; users asked: user_cold ")
    assert repr(view).startswith(f"TrainView({view.n_users:,} users, ")
    engine = metakg.fit("blend", view).adapt("somebody", ["x"])
    assert repr(engine) == f"Engine(blend: {view.vocabulary.sizes()}, {len(view.interactions):,} clicks, 1 user adapted)"


def test_results_print_as_tables() -> None:
    cut = planted_split()
    found = metakg.evaluate(metakg.fit("popularity", cut.train), cut, k=5)
    assert repr(found).startswith(f"Evaluation(popularity, {cut.protocol} protocol: user_cold, ")
    assert "recall@5" in str(found)
    assert found.results[0].about in str(found)
    board = metakg.compare(cut, ["popularity", "blend"], k=5)
    assert repr(board) == "Leaderboard(popularity, blend)"
    assert str(board) == f"{board.text()}\n{board.footer()}"


def test_what_is_no_training_data_and_no_split_is_said() -> None:
    cut = planted_split()
    for wrong in (cut, cut.dataset):
        with pytest.raises(TypeError, match=rf"split\.train, or metakg\.whole\(data\); not a {type(wrong).__name__}"):
            metakg.fit("blend", wrong)
    with pytest.raises(TypeError, match=r"judged on a split, .* not on a Dataset"):
        metakg.evaluate(metakg.fit("popularity", cut.train), cut.dataset)
