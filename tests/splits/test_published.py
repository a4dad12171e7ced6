"""Import of the published scenario files: what is right is kept exactly, what is wrong is named with file and line."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Triples, Vocabulary
from metakg.data.siblings import sibling_groups
from metakg.errors import DataError
from metakg.splits import PublishedConfig, split, summary
from metakg.splits.published import FILES

# users 0..3 train, 4 is warm, 5 is new; items 0..19 are old, 20..39 new
LINES = {
    "meta_training_support": ["0 0 1 2", "1 3 4", "2 5", "3 6"],
    "meta_training_query": ["0 3 4", "1 5 6", "2 7", "3 8"],
    "warm_up_support": ["4 0 1"],
    "warm_up_query": ["4 2"],
    "user_cold_support": ["5 9 1"],
    "user_cold_query": ["5 2 3"],
    "item_cold_support": ["0 20 21", "4 22"],
    "item_cold_query": ["0 22", "4 20"],
    "user_item_cold_support": ["5 21"],
    "user_item_cold_query": ["5 20"],
}


def write(folder, lines=None):
    (folder / "test_scenario").mkdir(parents=True, exist_ok=True)
    for name, text in (LINES | (lines or {})).items():
        (folder / "test_scenario" / f"{name}.txt").write_bytes(
            text if isinstance(text, bytes) else "\n".join([*text, ""]).encode()
        )
    return folder


def dataset(users=6, items=40, order=None) -> Dataset:
    """Ids are `u7`, `i7` for number 7 of the files; `order` numbers the rows in another way."""
    user_ids, item_ids = [f"u{k}" for k in range(users)], [f"i{k}" for k in range(items)]
    if order is not None:
        rng = np.random.default_rng(order)
        rng.shuffle(user_ids)
        rng.shuffle(item_ids)
    v = Vocabulary(
        IdMap(user_ids, kind="user"),
        IdMap(item_ids, kind="item"),
        IdMap([*(f"m.{i}" for i in item_ids), *(f"album{k}" for k in range(items // 4 + 1))], kind="entity"),
        IdMap(["on"]),
    )
    facts = [(f"m.i{k}", "on", f"album{k // 4}") for k in range(items)]
    heads, relations, tails = ([fact[k] for fact in facts] for k in range(3))
    graph = Triples(v.entities.rows(heads), v.relations.rows(relations), v.entities.rows(tails))
    return Dataset(v, Interactions.empty(), KnowledgeGraph(graph, Triples.empty()))


def lists(folder, users=6, items=40):
    (folder / "user_list.txt").write_text("org_id remap_id\n" + "".join(f"u{k} {k}\n" for k in range(users)))
    (folder / "item_list.txt").write_text("org_id remap_id freebase_id\n" + "".join(f"x{k} {k} i{k}\n" for k in range(items)))


def parse(name):
    return {(f"u{line.split()[0]}", f"i{item}") for line in LINES[name] for item in line.split()[1:]}


@pytest.mark.parametrize("order", [None, 1, 2])
@pytest.mark.parametrize("inner", [False, True])
def test_files_are_kept_exactly(tmp_path, ids, order, inner):
    write(tmp_path)
    lists(tmp_path)
    data = dataset(order=order)
    cut = split(data, "paper", published=tmp_path / "test_scenario" if inner else tmp_path, validation=False)
    assert cut.known_users.all()
    assert cut.known_items.all()
    assert set(ids(cut.tasks.support, data)) == parse("meta_training_support")
    assert set(ids(cut.tasks.query, data)) == parse("meta_training_query")
    assert set(ids(cut.pairs, data)) == parse("meta_training_support") | parse("meta_training_query")
    for name, file in FILES.items():
        if name != "meta_training":
            assert set(ids(cut.scenarios[name].support, data)) == parse(f"{file}_support")
            assert set(ids(cut.scenarios[name].query, data)) == parse(f"{file}_query")
    assert list(cut.manifest["files"]) == sorted(f"{name}.txt" for name in LINES)
    candidates = {name: set(data.vocabulary.items.ids(s.candidates)) for name, s in cut.scenarios.items()}
    assert candidates["item_cold"] == candidates["user_item_cold"] == {"i20", "i21", "i22"}
    assert candidates["user_cold"] == candidates["warm"] == {f"i{k}" for k in range(10)}


def test_without_lists_numbers_are_rows(tmp_path, ids):
    cut = split(dataset(), "paper", published=write(tmp_path), validation=False)
    assert set(ids(cut.scenarios["warm"].query, cut.dataset)) == {("u4", "i2")}


def test_windows_line_ends_tabs_and_a_mark_are_read(tmp_path, ids):
    write(tmp_path, {"warm_up_support": b"\xef\xbb\xbf4\t0  1 \r\n\r\n\n"})
    cut = split(dataset(), "paper", published=tmp_path, validation=False)
    assert ids(cut.scenarios["warm"].support, cut.dataset) == [("u4", "i0"), ("u4", "i1")]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("user_cold_query", ["5 2 3x"], r"user_cold_query\.txt line 1: found '3x'; expected a user's number"),
        ("user_cold_query", ["5 2 -3"], r"line 1: found '-3'"),
        ("user_cold_query", ["5 2 3.0"], r"line 1: found '3\.0'"),
        ("user_cold_query", ["5 2 " + "9" * 30], r"line 1: found '9{30}'"),
        ("user_cold_query", b"5 2 \xff", r"line 1: found"),
        ("meta_training_query", ["0 3 4", "1", "2 7", "3 8"], r"meta_training_query\.txt line 2: found 1 numbers"),
        ("meta_training_query", ["0 3 4", "", "1 5 6", "2 7", "3 8"], r"line 2: found 0 numbers"),
        ("item_cold_support", [], r"item_cold_support\.txt: found an empty file"),
        ("item_cold_support", ["", " "], r"item_cold_support\.txt: found an empty file"),
        ("item_cold_support", ["0 20 21", "6 22"], r"item_cold_support\.txt line 2: found user 6; expected users 0\.\.5"),
        ("item_cold_support", ["0 20 40", "4 22"], r"line 1: found item 40; expected items 0\.\.39"),
        ("item_cold_support", ["0 20", "4 22", "0 21"], r"line 3: found user 0 again; expected each user on one line"),
        ("item_cold_support", ["0 20 21 20", "4 22"], r"line 1: found item 20 again; expected each item once a line"),
        ("item_cold_query", ["0 22"], r"item_cold_query\.txt: found 1 users in one of support and query only, first 'u4'"),
        ("item_cold_query", ["0 20", "4 20"], r"item_cold_query\.txt: found 1 pairs of the support file, first user 'u0'"),
        ("item_cold_support", ["0 20 7", "4 22"], r"found 1 items that occur in meta_training, first 'i7'; expected new items"),
        ("user_cold_support", ["1 9 1"], r"user_cold_query\.txt: found 2 users in one of"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, lines, message):
    with pytest.raises(DataError, match=message):
        split(dataset(), "paper", published=write(tmp_path, {name: lines}), validation=False)


def test_a_cold_user_must_be_new(tmp_path):
    write(tmp_path, {"user_cold_support": ["1 9 1"], "user_cold_query": ["1 2 5"]})
    with pytest.raises(DataError, match=r"user_cold_support\.txt: found 1 users that occur in meta_training, first 'u1'"):
        split(dataset(), "paper", published=tmp_path, validation=False)


def test_a_missing_file_is_named(tmp_path):
    (write(tmp_path) / "test_scenario" / "warm_up_query.txt").unlink()
    with pytest.raises(DataError, match=r"warm_up_query\.txt: found No such file"):
        split(dataset(), "paper", published=tmp_path)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(DataError, match=r"found no meta_training_support\.txt; expected the folder test_scenario"):
        split(dataset(), "paper", published=tmp_path)


def test_lists_of_other_data_are_refused(tmp_path):
    lists(write(tmp_path))
    (tmp_path / "user_list.txt").write_text("org_id remap_id\n" + "".join(f"other{k} {k}\n" for k in range(6)))
    with pytest.raises(DataError, match=r"user_list\.txt: found none of its ids \(first \['other0'\]\) among"):
        split(dataset(), "paper", published=tmp_path)


def test_a_user_whom_the_data_set_lacks_is_named(tmp_path):
    lists(write(tmp_path))
    with pytest.raises(DataError, match=r"line 1: found user 5; expected users 0\.\.5, all of them in the data set"):
        split(dataset(users=5), "paper", published=tmp_path)


@pytest.mark.parametrize(
    "text", ["", "org_id remap_id\n", "org_id remap_id\nu0\n", "org_id remap_id\nu0 0\nu1 0\n", "u0 zero\n"]
)
def test_broken_lists_are_refused(tmp_path, text):
    lists(write(tmp_path))
    (tmp_path / "user_list.txt").write_text(text)
    with pytest.raises(DataError, match=r"user_list\.txt"):
        split(dataset(), "paper", published=tmp_path)


def test_validation_is_drawn_from_the_training_part_alone(tmp_path, ids):
    data, cut = larger(tmp_path)
    inner = cut.validation
    training = set(ids(cut.pairs, data))
    everything: set = set()
    for pairs in [inner.pairs, *(part for s in inner.scenarios.values() for part in (s.support, s.query))]:
        assert not set(ids(pairs, data)) & everything
        everything |= set(ids(pairs, data))
    assert everything <= training
    drawn = inner.manifest["drawn"]
    assert drawn["users"] == 12
    assert drawn["warm_users"] == 6
    assert 16 <= drawn["items"] <= 19  # 20 % of 80, in groups of 4
    new = set(inner.scenarios["item_cold"].candidates.tolist())
    groups = {int(item[1:]) // 4 for item in data.vocabulary.items.ids(np.array(sorted(new), np.int32))}
    assert len(groups) == 4
    assert not new & set(inner.pairs.items.tolist())
    users = {name: set(s.users.tolist()) for name, s in inner.scenarios.items()}
    assert not users["user_cold"] & set(inner.pairs.users.tolist())
    assert not users["user_cold"] & users["warm"]
    assert not users["warm"] & set(inner.pairs.users.tolist())
    for part in ("support", "query"):
        assert set(ids(getattr(inner.tasks, part), data)) <= set(ids(getattr(cut.tasks, part), data))
    assert set(inner.tasks.support.users.tolist()) == set(inner.tasks.query.users.tolist()) == set(inner.tasks.users.tolist())


def test_validation_does_not_depend_on_row_numbers(tmp_path, ids):
    def signature(order):
        data, cut = larger(tmp_path, order)
        inner = cut.validation
        parts = [inner.pairs, inner.tasks.support, *(p for s in inner.scenarios.values() for p in (s.revealed(1), s.query))]
        return [sorted(ids(pairs, data)) for pairs in parts]

    assert signature(None) == signature(1) == signature(2)


def test_validation_needs_no_tasks_to_be_whole(tmp_path):
    _, cut = larger(tmp_path, background_old_pairs=False)
    assert set(cut.validation.pairs.users.tolist()) == set(cut.validation.tasks.users.tolist())


def larger(folder, order=None, **options):
    """60 training users with 12 of the first 80 items each, 9 of them support."""
    rng = np.random.default_rng(4)
    picks = [rng.choice(80, 12, replace=False) for _ in range(60)]
    lines = {
        "meta_training_support": [f"{u} " + " ".join(map(str, items[:9])) for u, items in enumerate(picks)],
        "meta_training_query": [f"{u} " + " ".join(map(str, items[9:])) for u, items in enumerate(picks)],
        "warm_up_support": ["60 0"],
        "warm_up_query": ["60 1"],
        "user_cold_support": ["61 0"],
        "user_cold_query": ["61 1"],
        "item_cold_support": ["60 80"],
        "item_cold_query": ["60 81"],
        "user_item_cold_support": ["61 80"],
        "user_item_cold_query": ["61 81"],
    }
    lists(write(folder, lines), 62, 90)
    data = dataset(62, 90, order)
    rule = {"rule.min_items": 5, "rule.n_query": 3, "relaxed.min_items": 2}
    return data, split(data, "paper", published=folder, **rule, **options)


pieces = st.one_of(
    st.sampled_from([b" ", b"\n", b"\r\n", b"\t", b"0", b"1", b"4", b"20", b"-1", b"1e3", b"\xef\xbb\xbf", b"9" * 12, b"\x0b"]),
    st.binary(max_size=3),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([*LINES, "../user_list", "../item_list"]), st.lists(pieces, max_size=12), st.integers(0, 40))
def test_any_bytes_are_read_or_refused_by_name(tmp_path, name, noise, at):
    lists(write(tmp_path))
    path = tmp_path / "test_scenario" / f"{name}.txt"
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + b"".join(noise) + whole[at:])
    cut, refused = None, None
    try:
        cut = split(dataset(), "paper", published=tmp_path, validation=False)
    except DataError as err:
        refused = err
    if cut is None:
        assert refused.where.startswith(str(tmp_path))
    else:
        assert set(cut.scenarios) == {"warm", "user_cold", "item_cold", "user_item_cold"}
        assert all(len(scenario.query) for scenario in cut.scenarios.values())


# --- the published benchmark


@pytest.mark.data
def test_published_last_fm(last_fm, last_fm_folder):
    cut = split(last_fm, "paper", published=last_fm_folder, validation=False)
    expected = {
        "warm": (1_164, 34_264),
        "user_cold": (2_789, 71_764),
        "item_cold": (6_847, 130_188),
        "user_item_cold": (1_749, 33_303),
    }
    assert len(cut.tasks) == 10_458
    assert len(cut.tasks.support) == 299_915
    assert len(cut.tasks.query) == 104_580
    assert len(cut.pairs) == 404_495
    assert last_fm.vocabulary.n_users == 23_566
    for name, (users, support) in expected.items():
        scenario = cut.scenarios[name]
        assert len(scenario.users) == users
        assert len(scenario.support) == support
        assert set(np.bincount(scenario.query.users)[scenario.users]) == {10}
        sizes = np.bincount(scenario.support.users)[scenario.users]
        assert sizes.min() == 3
        assert sizes.max() == 90
    trained = np.unique(cut.pairs.items)
    for name, new in (("item_cold", 9_523), ("user_item_cold", 7_734)):
        items = np.unique(np.concatenate([cut.scenarios[name].support.items, cut.scenarios[name].query.items]))
        assert len(items) == new
        assert len(np.intersect1d(items, trained)) == 0
    assert len(np.intersect1d(cut.scenarios["user_cold"].users, cut.scenarios["user_item_cold"].users)) == 1_178
    untrained = {
        name: np.setdiff1d(np.concatenate([s.support.items, s.query.items]), trained) for name, s in cut.scenarios.items()
    }
    assert len(untrained["user_cold"]) == 366
    assert len(untrained["warm"]) == 264
    assert all(row.get("overlap", 0) == 0 for row in summary(cut))


@pytest.mark.data
def test_validation_of_last_fm_resembles_the_scenarios(last_fm, last_fm_folder):
    cut = split(last_fm, "paper", published=last_fm_folder)
    rows = {(row["part"], row["scenario"]): row for row in summary(cut)}
    for name in cut.scenarios:
        real, drawn = rows["test", name], rows["validation", name]
        assert drawn["overlap"] == 0
        assert drawn["users"] > 900
        assert drawn["support_of_user"][1] >= 0.6 * real["support_of_user"][1]
        assert drawn["support_of_item"][1] >= 0.5 * real["support_of_item"][1]
    # Siblings of a new item are nearly always new: 94 % in reality, and by construction in the validation split.
    groups = sibling_groups(last_fm.vocabulary, last_fm.graph, PublishedConfig(published="-").sibling_limit)
    assert sibling_share(groups, cut, np.arange(len(groups))) > 0.9
    assert sibling_share(groups, cut.validation, np.unique(cut.pairs.items)) > 0.9


def sibling_share(groups, cut, among):
    """Probability that a sibling of a new item is new, looking at these items only."""
    is_new = np.isin(among, cut.scenarios["item_cold"].candidates)
    size, new = np.bincount(groups[among]), np.bincount(groups[among][is_new], minlength=groups[among].max() + 1)
    return (new * (new - 1)).sum() / (new * (size - 1)).sum()
