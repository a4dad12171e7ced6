"""What planted data promise: exact counts, one story from one seed, reasons that hold, and a signal that is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metakg.errors import ConfigError, DataError
from metakg.generator import PRESETS, Planted, PlantedConfig, choose, planted, preset
from metakg.generator.plan import DOMAINS, plan

DAY_S = 86_400
SMALL = {
    "books": PlantedConfig(users=60, items=80, interactions=1500),
    "music": PlantedConfig(domain="music", users=70, items=90, interactions=1800, user_facts=False),
    "places": PlantedConfig(domain="places", users=60, items=80, interactions=1200, relations=20),
}


@pytest.fixture(scope="module", params=SMALL)
def small(request: pytest.FixtureRequest) -> Planted:
    return planted(SMALL[request.param], seed=3)


@pytest.fixture(scope="module")
def demo() -> Planted:
    return planted("demo", seed=1)


def facts_of(data: Planted) -> set[tuple[int, int, int]]:
    graph = data.dataset.graph.entity
    return set(zip(graph.heads.tolist(), graph.relations.tolist(), graph.tails.tolist(), strict=True))


def check_promises(data: Planted) -> None:
    """Check everything that holds for any settings."""
    config, dataset, truth = data.config, data.dataset, data.truth
    v, pairs, graph = dataset.vocabulary, dataset.interactions, dataset.graph
    extra = 2 if config.user_facts else 0

    # counts, to the digit
    assert (v.n_users, v.n_items, len(pairs)) == (config.users, config.items, config.interactions)
    assert len(np.unique(pairs.keys(v.n_items))) == config.interactions
    assert len(facts_of(data)) == len(graph.entity) == (config.triples or len(graph.entity))
    if config.relations:
        assert v.n_relations == config.relations + extra
    if config.entities:
        towns = 0 if {"city", "town"} & set(plan(config).counts) else 12
        ages_and_towns = 7 + towns if config.user_facts else 0
        assert v.n_entities == config.items + config.entities + ages_and_towns
    assert len(graph.user) == (2 * config.users if config.user_facts else 0)

    # nobody and nothing is left out
    assert np.bincount(pairs.users, minlength=v.n_users).min() >= 1
    assert np.bincount(pairs.items, minlength=v.n_items).min() >= 1
    mentioned = {*graph.entity.heads.tolist(), *graph.entity.tails.tolist(), *graph.user.tails.tolist()}
    ages = {row for row in range(v.n_entities) if v.entities.id(row).startswith(("age-", "home-"))}
    assert mentioned | ages == set(range(v.n_entities))
    used = set(graph.entity.relations.tolist()) | set(graph.user.relations.tolist())
    assert all(plan(config).quotas[v.relations.id(row)] == 0 for row in set(range(v.n_relations)) - used)
    assert len(used) > 0.8 * v.n_relations or config.items < 20  # a relation between two authors needs two authors
    assert not (graph.entity.heads == graph.entity.tails).any()

    # names: one each, and nobody shares his with somebody else
    for ids in (v.users, v.items, v.relations):
        assert ids.labels is not None
        assert len(set(ids.labels.to_pylist())) == len(ids)
    kinds = {}
    for row in range(v.n_entities):
        kinds.setdefault(v.entities.id(row).rsplit("-", 1)[0], []).append(v.entities.label(row))
    assert all(len(set(names)) == len(names) for names in kinds.values())

    # times: nobody clicks before he came or before the item came out; sorted by user and time
    times = pairs.times_s
    assert times is not None
    start = int(np.datetime64(config.first_day, "s").astype(np.int64))
    assert start <= times.min() <= times.max() < start + config.days * DAY_S
    assert (times >= truth.released_s[pairs.items]).all()
    assert (times >= truth.arrived_s[pairs.users]).all()
    assert (np.diff(pairs.users) >= 0).all()
    assert (np.diff(times)[np.diff(pairs.users) == 0] >= 0).all()

    # tastes: some for everybody, each once, weights sum to one, each covers an item
    tastes = list(zip(truth.taste_users.tolist(), truth.taste_relations.tolist(), truth.taste_entities.tolist(), strict=True))
    assert len(set(tastes)) == len(tastes)
    assert np.bincount(truth.taste_users, truth.taste_weights, v.n_users) == pytest.approx(np.ones(v.n_users), abs=1e-5)
    covered = {(r, t) for h, r, t in facts_of(data) if h < v.n_items}
    assert {(r, e) for _, r, e in tastes} <= covered

    # reasons: a fact of the item and a taste of the user, or noise
    explained = truth.reason_relations >= 0
    assert (explained == (truth.reason_entities >= 0)).all()
    facts, liked = facts_of(data), set(tastes)
    rows = zip(pairs.users, pairs.items, truth.reason_relations, truth.reason_entities, strict=True)
    for user, item, relation, entity in (tuple(map(int, row)) for row in rows if row[2] >= 0):
        assert (item, relation, entity) in facts
        assert (user, relation, entity) in liked


def test_promises(small: Planted) -> None:
    check_promises(small)


def more_or_as_it_is(config: PlantedConfig, setting: str, value: int) -> PlantedConfig:
    asked = config.model_copy(update={setting: value})
    try:
        plan(asked)
    except ConfigError:  # more than this small shop can hold
        return config
    return asked


@st.composite
def configs(draw: st.DrawFn) -> PlantedConfig:
    domain = draw(st.sampled_from(sorted(DOMAINS)))
    users, items = draw(st.integers(2, 25)), draw(st.integers(4, 40))
    interactions = draw(st.integers(max(users, items), users * items))
    settings_ = {"domain": domain, "users": users, "items": items, "interactions": interactions}
    settings_ |= {"noise": draw(st.sampled_from([0.0, 0.2, 1.0])), "user_facts": draw(st.booleans())}
    settings_["days"] = draw(st.sampled_from([30, 400]))
    if draw(st.booleans()):
        settings_["relations"] = draw(st.integers(DOMAINS[domain].core, len(DOMAINS[domain].relations)))
    config = PlantedConfig.parse(settings_)
    if draw(st.booleans()):
        usual = sum(n for kind, n in plan(config).counts.items() if kind not in ("age", "home"))
        config = more_or_as_it_is(config, "entities", usual + draw(st.integers(0, 30)))
    if draw(st.booleans()):
        facts = sum(plan(config).quotas.values())
        config = more_or_as_it_is(config, "triples", facts + draw(st.integers(0, max(1, facts // 10))))
    return config


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs(), st.integers(0, 3))
def test_promises_for_any_settings(config: PlantedConfig, seed: int) -> None:
    check_promises(planted(config, seed))


def columns_of(data: Planted) -> list[bytes]:
    pairs, truth = data.dataset.interactions, data.truth
    v, graph = data.dataset.vocabulary, data.dataset.graph
    names = [str(ids.labels) + str(ids.array) for ids in (v.users, v.items, v.entities, v.relations)]
    columns = [pairs.users, pairs.items, pairs.times_s, *vars(graph.entity).values(), *vars(graph.user).values()]
    return [column.tobytes() for column in [*columns, *vars(truth).values()]] + [name.encode() for name in names]


def test_one_seed_one_story() -> None:
    first, again = planted(SMALL["books"], 5), planted(SMALL["books"], 5)
    other = planted(SMALL["books"], 6)
    assert columns_of(first) == columns_of(again)
    assert not set(columns_of(first)[:3]) & set(columns_of(other)[:3])


def test_the_story_does_not_depend_on_how_it_is_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block has a generator of its own, so other blocks give other clicks, but the same promises."""
    monkeypatch.setattr("metakg.generator.world.BLOCK", 100)
    check_promises(planted(SMALL["books"], 5))


def test_the_demo_is_known_to_the_letter(demo: Planted) -> None:
    """Catches a change of the story, which is not an error, but must be meant: README and docs quote it."""
    v, pairs = demo.dataset.vocabulary, demo.dataset.interactions
    assert (v.items.label(0), v.items.label(1)) == ("The Dragon's Blade", "The Innkeeper's Reluctant Arrangement")
    assert demo.facts("book-00000")[0] == ("written_by", v.entities.id(v.entities.labels.to_pylist().index("Emeka Van Houten")))
    assert (v.n_users, v.n_items, len(pairs)) == (400, 600, 14_000)


def test_reasons_in_words(demo: Planted) -> None:
    pairs, truth, v = demo.dataset.interactions, demo.truth, demo.dataset.vocabulary
    at = int(np.flatnonzero(truth.reason_relations == v.relations.row("written_by"))[0])
    user, item = v.users.id(pairs.users[at]), v.items.id(pairs.items[at])
    taste = demo.reason(user, item)
    assert taste is not None
    assert taste in demo.tastes(user)
    assert (taste.relation, taste.entity) in demo.facts(item)
    assert taste.label == f"written by {v.entities.label(v.entities.row(taste.entity))}"
    weights = [taste.weight for taste in demo.tastes(user)]
    assert weights == sorted(weights, reverse=True)
    noise = int(np.flatnonzero(truth.reason_relations < 0)[0])
    assert demo.reason(v.users.id(pairs.users[noise]), v.items.id(pairs.items[noise])) is None
    unseen = next(i for i in range(v.n_items) if not ((pairs.users == 0) & (pairs.items == i)).any())
    with pytest.raises(DataError, match="found no click"):
        demo.reason("user-00000", v.items.id(unseen))
    with pytest.raises(DataError, match="user 'nobody': found an unknown id"):
        demo.tastes("nobody")


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_noise_is_what_was_asked_for(noise: float) -> None:
    """A roomy shop, in which tastes do not wear out."""
    data = planted(PlantedConfig(users=400, items=800, interactions=8000, noise=noise), 2)
    found = (data.truth.reason_relations < 0).mean()
    assert noise <= found + 0.02
    assert found <= noise + 0.04 * (1 - noise)


def held_out(data: Planted, per_user: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return which interactions are hidden (some explained and noisy ones of each user), and popularity without them."""
    rng = np.random.default_rng(seed)
    pairs = data.dataset.interactions
    order = np.lexsort((rng.random(len(pairs)), pairs.users))
    users = pairs.users[order]
    starts = np.searchsorted(users, np.arange(data.config.users))
    hidden = np.zeros(len(pairs), np.bool_)
    hidden[order[np.arange(len(pairs)) - starts[users] < per_user]] = True
    return hidden, np.bincount(pairs.items[~hidden], minlength=data.config.items)


def recall_at_20(data: Planted, scores: np.ndarray, hidden: np.ndarray) -> float:
    """Mean recall@20 over all items that were not shown: (U, I) -> one number."""
    pairs = data.dataset.interactions
    scores = scores.astype(np.float64).copy()
    scores[pairs.users[~hidden], pairs.items[~hidden]] = -np.inf
    top = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    answer = np.zeros(scores.shape, np.bool_)
    answer[pairs.users[hidden], pairs.items[hidden]] = True
    hits = np.take_along_axis(answer, top, 1).sum(1)
    return float((hits / answer.sum(1)).mean())


@pytest.mark.parametrize("domain", ["books", "music", "places"])
def test_the_signal_is_there(domain: str) -> None:
    data = planted(PlantedConfig(domain=domain, users=250, items=500, interactions=8000), 4)
    hidden, popularity = held_out(data)
    everybody = np.arange(data.config.users, dtype=np.int32)
    by_popularity = recall_at_20(data, np.broadcast_to(popularity, (data.config.users, data.config.items)), hidden)
    by_truth = recall_at_20(data, data.oracle(everybody, popularity), hidden)
    assert by_truth > 2.5 * by_popularity
    assert by_truth > 0.3


def test_without_a_signal_the_truth_is_worth_nothing() -> None:
    data = planted(PlantedConfig(users=250, items=500, interactions=8000, noise=1.0), 4)
    hidden, popularity = held_out(data)
    everybody = np.arange(data.config.users, dtype=np.int32)
    by_popularity = recall_at_20(data, np.broadcast_to(popularity, (data.config.users, data.config.items)), hidden)
    believer = replace(data, config=data.config.model_copy(update={"noise": 0.0}))  # takes the tastes for real
    assert recall_at_20(data, believer.oracle(everybody, popularity), hidden) < by_popularity


def test_new_users_and_items_arrive_over_time(demo: Planted) -> None:
    """The latest fifth of users and of items by first time: all four corners of the cold-start square are populated."""
    pairs, config = demo.dataset.interactions, demo.config
    first_of = []
    for rows, size in ((pairs.users, config.users), (pairs.items, config.items)):
        first = np.full(size, np.iinfo(np.int64).max)
        np.minimum.at(first, rows, pairs.times_s)
        new = np.zeros(size, np.bool_)
        new[np.argsort(first)[int(0.8 * size) :]] = True
        first_of.append(new)
    new_user, new_item = first_of[0][pairs.users], first_of[1][pairs.items]
    corners = [(~new_user & ~new_item).mean(), (new_user & ~new_item).mean(), (~new_user & new_item).mean()]
    corners.append((new_user & new_item).mean())
    assert min(corners) > 0.04, corners
    assert corners[0] > 0.5
    # a new item has facts: it can be found through the graph
    graph = demo.dataset.graph.entity
    n_facts = np.bincount(graph.heads[graph.heads < config.items], minlength=config.items)
    assert n_facts[first_of[1]].min() >= 3


def test_items_are_clicked_most_when_they_are_new(demo: Planted) -> None:
    pairs, truth = demo.dataset.interactions, demo.truth
    during = truth.released_s >= pairs.times_s.min()
    age = (pairs.times_s - truth.released_s[pairs.items])[during[pairs.items]] / DAY_S
    assert np.mean(age < 90) > 0.35  # of an item out for two years on average, the first quarter of a year holds a third


@pytest.mark.parametrize(("domain", "relation"), [("books", "written_by"), ("music", "by_artist"), ("places", "on_street")])
def test_clicks_near_each_other_share_something(domain: str, relation: str) -> None:
    """Locality: two clicks in a row have an author in common far more often than two clicks of the user at random."""
    data = planted(PlantedConfig(domain=domain, users=150, items=600, interactions=6000), 3)
    pairs, graph, rng = data.dataset.interactions, data.dataset.graph.entity, np.random.default_rng(0)
    about = graph.select(graph.relations == data.dataset.vocabulary.relations.row(relation))
    of = np.zeros((data.config.items, data.dataset.vocabulary.n_entities), np.bool_)
    listed = about.heads < data.config.items
    of[about.heads[listed], about.tails[listed]] = True
    after = np.flatnonzero(np.diff(pairs.users) == 0)
    together = (of[pairs.items[after]] & of[pairs.items[after + 1]]).any(axis=1).mean()
    shuffled = pairs.items[np.lexsort((rng.random(len(pairs)), pairs.users))]
    apart = (of[shuffled[after]] & of[shuffled[after + 1]]).any(axis=1).mean()
    assert together > 1.4 * apart


def test_popularity_is_skewed_and_the_graph_has_hubs(demo: Planted) -> None:
    clicks = np.sort(np.bincount(demo.dataset.interactions.items))[::-1]
    assert clicks[: len(clicks) // 10].sum() > 0.2 * clicks.sum()
    mentions = np.sort(np.bincount(demo.dataset.graph.entity.tails))[::-1]
    assert mentions[0] > 10 * np.median(mentions[mentions > 0])


def test_users_facts_lean_towards_tastes(demo: Planted) -> None:
    """Users of one age share more than users of different ages, so that a user without a click can be told something."""
    data, graph = demo, demo.dataset.graph.user
    v = data.dataset.vocabulary
    age = graph.tails[graph.relations == v.relations.row("aged")]
    scores = data.oracle(np.arange(data.config.users, dtype=np.int32))
    scores /= np.linalg.norm(scores, axis=1, keepdims=True)
    alike = scores @ scores.T
    same = (age[:, None] == age[None, :]) & ~np.eye(len(age), dtype=np.bool_)
    assert alike[same].mean() > 1.05 * alike[~same & ~np.eye(len(age), dtype=np.bool_)].mean()


def test_oracle_by_hand(small: Planted) -> None:
    """The score of one user, worked out in plain loops."""
    data, user = small, 7
    truth, pairs, config = data.truth, data.dataset.interactions, data.config
    clicks = np.bincount(pairs.items, minlength=config.items)
    facts = facts_of(data)
    expected = config.noise * (clicks + 1) / (clicks.sum() + config.items)
    for at in np.flatnonzero(truth.taste_users == user):
        relation, entity = int(truth.taste_relations[at]), int(truth.taste_entities[at])
        items = [i for i in range(config.items) if (i, relation, entity) in facts]
        total = sum(clicks[i] + 1 for i in items)
        for i in items:
            expected[i] += (1 - config.noise) * truth.taste_weights[at] * (clicks[i] + 1) / total
    assert data.oracle(np.array([user], np.int32))[0] == pytest.approx(expected, rel=1e-5)


# --- settings -----------------------------------------------------------------------------------------------------------------


def test_presets_copy_the_paper() -> None:
    sizes = {
        name: (c.users, c.items, c.interactions, c.triples, c.entities, c.relations)
        for name, c in PRESETS.items()
        if name != "demo"
    }
    assert sizes == {
        "last-fm": (23_566, 48_123, 3_034_763, 464_567, 58_266, 9),
        "amazon-book": (70_679, 24_915, 847_733, 2_557_746, 88_572, 39),
        "yelp2018": (45_919, 45_538, 1_185_068, 1_853_704, 90_961, 42),
    }
    for name in sizes:
        exact = plan(preset(name))
        assert sum(exact.quotas.values()) == exact.config.triples
        assert sum(exact.counts.values()) == exact.config.entities
        assert len(exact.quotas) == exact.config.relations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interactions": 79}, "interactions: found 79; expected 80 to 4,800"),
        ({"interactions": 4801}, "interactions: found 4,801; expected 80 to 4,800"),
        ({"usres": 5}, "generator setting usres: found 5"),
        ({"users": "many"}, "generator setting users: found 'many'"),
        ({"noise": 1.5}, "generator setting noise: found 1.5"),
        ({"domain": "films"}, "generator setting domain: found 'films'"),
        ({"items": None}, "generator setting items: found None"),
    ],
)
def test_bad_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        PlantedConfig.parse({"users": 60, "items": 80, "interactions": 1500} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triples": 100}, "triples: found 100; expected 245 to 2,161"),
        ({"triples": 10**6}, "triples: found 1,000,000; expected"),
        ({"entities": 3}, "entities: found 3; expected"),
        ({"relations": 40}, "relations: found 40; expected 8 to 39"),
        ({"relations": 2}, "relations: found 2; expected 8 to 39"),
    ],
)
def test_graphs_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planted(PlantedConfig.parse({"users": 60, "items": 80, "interactions": 1500} | change), 1)


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="preset: found 'movielens'; expected one of demo, last-fm"):
        planted("movielens")


def test_choosing_settings() -> None:
    assert choose() == PRESETS["demo"] == preset("demo")
    assert choose(noise=0.5) == PRESETS["demo"].model_copy(update={"noise": 0.5})
    assert choose("last-fm", users=30_000).items == 48_123
    assert choose(interactions=30_000) == choose("scale", interactions=30_000) == PlantedConfig.scaled(30_000)
    assert choose(users=5, items=6, interactions=20) == PlantedConfig(users=5, items=6, interactions=20)
    with pytest.raises(ConfigError, match="preset scale: found no interactions"):
        choose("scale")
    with pytest.raises(ConfigError, match="generator setting items: found nothing"):
        choose(users=5, interactions=20)
    with pytest.raises(ConfigError, match="interactions: found 14,000; expected 100,000 to"):
        choose("demo", users=100_000)


@pytest.mark.parametrize("domain", ["books", "music", "places"])
@pytest.mark.parametrize("interactions", [8, 15, 60, 100, 500, 5_000])
def test_any_number_of_interactions_makes_a_world(domain, interactions) -> None:
    assert len(planted(choose("scale", interactions=interactions, domain=domain)).dataset.interactions) == interactions


def test_facts_follow_the_items_that_are_set() -> None:
    config = choose("scale", interactions=100_000, items=5000)
    assert (config.users, config.items, config.triples) == (1666, 5000, 50_000)


def test_scaled_settings() -> None:
    config = PlantedConfig.scaled(30_000, domain="music")
    assert (config.users, config.items, config.interactions, config.triples) == (500, 200, 30_000, 2000)
    assert config.domain == "music"
