"""MCRec: instances against walking, layers by hand, and paths that must not be taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metakg.data import KnowledgeGraph, Support, TrainView
from metakg.errors import CheckpointError, DataError
from metakg.models.mcrec import Contexts, Mcrec, McrecConfig
from metakg.models.metapaths import USERS, Link, MetaPath
from metakg.models.nn.instances import _falling
from metakg.sample.pairs import PairBatch
from metakg.testing import LearntContract, planted_split, toy_view
from metakg.train.baseline import AdaptRule, BaselineConfig
from metakg.train.loop import LoopConfig

BY_AUTHOR = MetaPath((Link(0, False),))
BY_INFLUENCE = MetaPath((Link(0, False), Link(4, False), Link(0, False)))
PATHS = (USERS, BY_AUTHOR, BY_INFLUENCE)


class TestMcrec(LearntContract):
    config = McrecConfig(dim=8, tower=(16, 8))
    needs_facts = True
    training = BaselineConfig(
        batch_size=512,
        start="bpr",
        negatives=2,
        loop=LoopConfig(learning_rate=0.01, epochs=20),
        adapt=AdaptRule(learning_rate=0.02, epochs=20),
    )


def build(view: TrainView, **settings: object) -> Mcrec:
    config = McrecConfig.model_validate({"dim": 4, "tower": [5, 3], **settings})
    model = Mcrec(config, view, torch.Generator().manual_seed(3), chosen=PATHS)
    with torch.no_grad():
        model.filter_bias.normal_(generator=torch.Generator().manual_seed(4))
    return model.eval()


# -- instances -----------------------------------------------------------------------------------------------------------


def test_instances_of_a_pair_by_hand() -> None:
    """ann clicked 0, 1, 2, 7; item 8 is by Pearl like 7, and dan and finn clicked it, of whose items ann has none."""
    model = build(toy_view())
    users, author, influence = (set(half.listed(0, 8, model.own[[0]])) for half in model.halves)
    assert users == set()
    assert author == {(7, -1, 14)}
    assert influence == set(), "an end of the path must be by somebody who influenced Pearl"
    assert set(model.halves[2].listed(0, 4, model.own[[0]])) == {(7, 14, 13)}  # 7 by Pearl, influenced by Otto, who wrote 4
    # item 9: cleo (clicked 0, 2, 7) and gus (0) clicked it
    assert set(model.halves[0].listed(0, 9, model.own[[0]])) == {(0, -1, 2), (0, -1, 6), (2, -1, 2), (7, -1, 2)}


def test_an_instance_never_goes_over_the_click_itself() -> None:
    """ann and item 0: not from 0, and not over ann; cleo's clicks of 0, 2 and 7 and Mira's books remain."""
    model = build(toy_view())
    users, author, _ = (model.halves[p].listed(0, 0, model.own[[0]]) for p in range(3))
    assert set(users) == {(2, -1, 2), (7, -1, 2)}
    assert set(author) == {(1, -1, 12), (2, -1, 12)}


@pytest.mark.parametrize("limits", [{}, {"starts": 2}, {"chains": 1}, {"ends": 2}, {"instances": 1}, {"min_cosine": 0.1}])
def test_both_ways_in_find_what_walking_finds(limits: dict[str, object]) -> None:
    model = build(toy_view(), **limits)
    users = np.arange(8)
    for half in model.halves:
        chains = half.chains(users, model.own[users])

        def nodes(row: np.ndarray, chains=chains) -> list[tuple[int, int, int]]:
            return [(int(chains.item[c]), int(chains.via[c]), int(chains.end[c])) for c in row if c >= 0]

        walked = {(u, i): half.listed(u, i, model.own[[u]]) for u in range(8) for i in range(12)}
        expected = {pair: found for pair, found in walked.items() if found}
        assert expected or limits
        every = half.of_users(chains)
        assert {divmod(int(p), 12): nodes(row) for p, row in zip(every.pair, every.chain, strict=True)} == expected
        rows, items = np.repeat(users, 12), np.tile(np.arange(12), 8)
        pairs = half.of_pairs(chains, rows, items)
        assert {(int(rows[p]), int(items[p])): nodes(row) for p, row in zip(pairs.pair, pairs.chain, strict=True)} == expected
        assert (np.diff(every.pair) > 0).all()
        assert (np.diff(pairs.pair) > 0).all()


def test_the_key_of_a_score_falls_where_the_score_rises() -> None:
    values = np.array([-1.0, -0.5, -1e-30, -0.0, 0.0, 1e-30, 0.5, 1.0], np.float32)
    keys = _falling(values)
    assert (np.diff(keys) <= 0).all()
    assert keys[3] == keys[4]
    assert keys.min() >= 0
    assert keys.max() < 2**32


# -- layers --------------------------------------------------------------------------------------------------------------


def test_a_context_by_hand() -> None:
    """ann and item 8 on the path by author have one instance: ann, 7, Pearl, 8."""
    model = build(toy_view())
    contexts = model.contexts_of_pairs(torch.tensor([0]), torch.tensor([8]))
    f, (u, m, _, x, i) = model.feature, model.filter[1]
    expected = torch.relu(u @ f[0] + m @ f[8 + 7] + x @ f[8 + 14] + i @ f[8 + 8] + model.filter_bias[1])
    torch.testing.assert_close(contexts.paths[0, 1], expected)
    assert not contexts.paths[0, [0, 2]].any(), "no instance: zero, whatever the bias"


def test_the_network_by_plain_loops() -> None:
    model = build(toy_view())
    c_p = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1))
    found = model.logits(Contexts(torch.tensor([3, 5]), torch.tensor([1, 6]), c_p))
    for n, (user, item) in enumerate(((3, 1), (5, 6))):
        x, y = model.user[user], model.item[item]
        raw = []
        for p in range(3):
            hidden = torch.relu(model.path_hidden @ torch.cat([x, y, c_p[n, p]]) + model.path_bias)
            raw.append(torch.relu(model.path_out @ hidden + model.path_out_bias[0]))
        share = torch.exp(torch.stack(raw)) / torch.exp(torch.stack(raw)).sum()
        c = sum(share[p] * c_p[n, p] for p in range(3))
        left = torch.relu(model.of_user @ torch.cat([x, c]) + model.of_user_bias) * x
        right = torch.relu(model.of_item @ torch.cat([y, c]) + model.of_item_bias) * y
        hidden = torch.cat([left, c, right])
        for layer in range(2):
            hidden = torch.relu(model.tower[layer] @ hidden + model.tower_bias[layer])
        torch.testing.assert_close(found[n], (model.tower[2] @ hidden + model.tower_bias[2])[0])


@pytest.mark.parametrize("settings", [{"coordinate_softmax": True}, {"tower": []}, {"tower": [6]}, {"instances": 1}])
def test_the_fast_ranking_equals_walking_under_every_switch(settings: dict[str, object]) -> None:
    model = build(toy_view(), **settings)
    with torch.inference_mode():
        fast, slow = model.score_all(torch.arange(8)), model.score_pairs(torch.arange(8), torch.arange(12).expand(8, -1))
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_the_coordinates_of_the_attention_sum_to_one_in_the_authors_form() -> None:
    model = build(toy_view(), coordinate_softmax=True)
    x = torch.ones(2, 4)
    torch.testing.assert_close(model._attended(x, x, "user").sum(1), torch.ones(2))


def test_dropout_falls_on_instances_and_in_losses_alone() -> None:
    model = build(toy_view(), dropout=0.5)
    pairs = torch.zeros(4000, dtype=torch.int64), torch.full((4000,), 8)
    still = model.contexts_of_pairs(*pairs).paths[:, 1]
    assert torch.equal(still, model.train().contexts_of_pairs(*pairs).paths[:, 1])
    drawn = model.contexts_of_pairs(*pairs, drops=True).paths[:, 1]
    single = still[0]  # one instance: its mean over draws is itself
    torch.testing.assert_close(drawn.mean(0), single, rtol=0.1, atol=0.02)
    assert set(torch.unique((drawn / single.clamp(min=1e-9))[:, single > 0].round()).tolist()) == {0.0, 2.0}
    batch = PairBatch(pairs[0], pairs[1], pairs[1] + 1)
    assert model(batch)["rank"] != model(batch)["rank"]
    assert model.eval()(batch)["rank"] == model(batch)["rank"]


def test_the_loss_is_the_cross_entropy_of_a_click_and_its_draws() -> None:
    model = build(toy_view(), weight_decay=0.5)
    batch = PairBatch(torch.tensor([0, 0, 3, 3]), torch.tensor([1, 1, 5, 5]), torch.tensor([8, 9, 0, 2]), each=2)
    terms = model(batch)
    scores = model.score_pairs(torch.tensor([0, 3]), torch.tensor([[1, 8, 9], [5, 0, 2]]))
    labels = torch.tensor([[1.0, 0, 0], [1, 0, 0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    assert terms["rank"].item() == pytest.approx(expected.item(), rel=1e-5)
    rows = torch.cat([model.user[[0, 3]], model.item[[0, 1, 2, 5, 8, 9]]])
    assert terms["l2"].item() == pytest.approx((0.5 * rows.square().sum() / 8).item(), rel=1e-5)
    ranked = build(toy_view(), loss="bpr")(batch)["rank"]
    margin = scores[:, :1] - scores[:, 1:]
    assert ranked.item() == pytest.approx(-torch.nn.functional.logsigmoid(margin).mean().item(), rel=1e-5)


# -- features ------------------------------------------------------------------------------------------------------------


def test_features_spread_from_users_and_items_that_have_them() -> None:
    view = toy_view()
    model = build(view)
    users, items = torch.randn(8, 4), torch.randn(12, 4)
    before = model.halves
    model.start_from(users, items)
    f = model.feature
    assert model.halves is not before, "which instances are the best follows from the features"
    torch.testing.assert_close(f[0], users[0])
    torch.testing.assert_close(f[8 + 3], items[3])
    torch.testing.assert_close(f[8 + 17], items[[3, 4, 5]].mean(0))  # the Tin Moon series
    torch.testing.assert_close(f[8 + 10], (f[8 + 13] + f[8 + 16]) / 2)  # item 10, never clicked: Otto and space opera
    torch.testing.assert_close(f[7], users[:7].mean(0))  # hal clicked nothing
    assert torch.equal(model.user, users)


def test_features_are_in_training_what_they_are_in_use() -> None:
    """Drawn ones spread too, before a step is taken: paths are learnt over them."""
    model = build(toy_view())
    model.start_as_drawn()
    model.begin()
    torch.testing.assert_close(model.feature[8 + 17], model.feature[[8 + 3, 8 + 4, 8 + 5]].mean(0))
    before = model.feature.clone()
    model.settle()
    assert torch.equal(before, model.feature)


def test_a_new_user_is_what_he_clicked() -> None:
    model = build(toy_view())
    new = model.extend(Support.clicks("zoe", ["i00", "i03"]))
    row = new.view.vocabulary.users.row("zoe")
    start = new.view.n_users
    torch.testing.assert_close(new.feature[row], new.feature[[start, start + 3]].mean(0))
    assert new.chosen == model.chosen
    assert new.built_for == new.feature._version, "built again after the rows were carried over"
    with torch.inference_mode():
        torch.testing.assert_close(
            new.score_all(torch.tensor([row])),
            new.score_pairs(torch.tensor([row]), torch.arange(12)[None]),
            rtol=1e-4,
            atol=1e-5,
        )


def test_over_a_view_without_a_fact_no_instance_runs_over_it() -> None:
    model = build(toy_view())
    view = model.view
    facts = view.graph.entity
    pearl = (facts.heads == 8) & (facts.tails == 14)
    other = model.over(replace(view, graph=KnowledgeGraph(facts.select(~pearl), view.graph.user)))
    assert other.halves[1].listed(0, 8, other.own[[0]]) == []
    assert model.halves[1].listed(0, 8, model.own[[0]]) == [(7, -1, 14)]


def test_ranking_on_planted_data_equals_walking() -> None:
    """Hundreds of items, hubs cut, several blocks of users: the joins against walking, for some cells."""
    view = planted_split().train
    model = Mcrec(McrecConfig(dim=8, tower=(16, 8), ends=20), view, torch.Generator().manual_seed(2)).eval()
    users, rng = torch.arange(0, view.n_users, 5), np.random.default_rng(0)
    items = torch.from_numpy(rng.integers(view.n_items, size=(len(users), 4)))
    with torch.inference_mode():
        fast = model.score_all(users)
        torch.testing.assert_close(fast.gather(1, items), model.score_pairs(users, items), rtol=1e-4, atol=1e-5)


# -- bad input -----------------------------------------------------------------------------------------------------------


def test_no_meta_path_is_refused_with_what_to_do() -> None:
    bare = replace(toy_view(), graph=KnowledgeGraph.empty())
    with pytest.raises(DataError, match=r"meta-paths of mcrec: found no relation.*paths.one_hop = 0"):
        Mcrec(McrecConfig(dim=4), bare, torch.Generator())
    with pytest.raises(DataError, match=r"written by.*wanted are 95%"):
        Mcrec(McrecConfig.model_validate({"dim": 4, "paths": {"min_coverage": 0.95}}), toy_view(), torch.Generator())
    alone = McrecConfig.model_validate({"dim": 4, "paths": {"one_hop": 0, "two_hop": 0}})
    assert Mcrec(alone, bare, torch.Generator()).chosen == (USERS,)


def test_tensors_of_other_data_are_refused() -> None:
    model = build(toy_view())
    tensors = model.tensors()
    with pytest.raises(CheckpointError, match="no meta-paths of this vocabulary"):
        model.load_tensors({**tensors, "paths": torch.tensor([[99, -1, -1]])})
    with pytest.raises(CheckpointError, match="no meta-paths of this vocabulary"):
        model.load_tensors({**tensors, "paths": torch.empty(0, 3, dtype=torch.int64)})
    with pytest.raises(CheckpointError, match="size mismatch"):
        model.load_tensors({**tensors, "paths": tensors["paths"][:2]})
    with pytest.raises(CheckpointError, match="no meta-paths of this vocabulary"):
        model.load_tensors({name: tensor for name, tensor in tensors.items() if name != "paths"})
