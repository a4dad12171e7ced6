"""Numbering, linking, collapsing and writing, through the public functions on small tables."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.data import Dataset
from metakg.errors import DataError
from metakg.files import sha256
from metakg.readers import prepare, read, validate

CLICKS = "user,item,rating,time\nu10,b,3,500\nu2,a,4,300\nu10,a,5,200\nu10,b,1,100\nu2,c,2,300\n"
KG = "head,relation,tail\na,genre,x\nb,genre,x\nx,part_of,y\nb,genre,x\n"


@pytest.fixture
def clicks(write):
    return write("clicks.csv", CLICKS)


@pytest.fixture
def kg(write):
    return write("kg.csv", KG)


def test_rows_follow_length_and_letters_and_items_come_first(clicks, kg):
    v = read(interactions=clicks, triples=kg).vocabulary
    assert v.users.array.to_pylist() == ["u2", "u10"]
    assert v.items.array.to_pylist() == ["a", "b", "c"]
    assert v.entities.array.to_pylist() == ["a", "b", "item:c", "x", "y"]
    assert v.relations.array.to_pylist() == ["genre", "part_of"]


def test_repeated_pairs_collapse_to_their_first_time_and_last_value(clicks, kg):
    data = read(interactions=clicks, triples=kg)
    pairs, v = data.interactions, data.vocabulary
    rows = list(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), pairs.values, pairs.times_s, strict=True))
    assert rows == [("u2", "a", 4, 300), ("u2", "c", 2, 300), ("u10", "b", 3, 100), ("u10", "a", 5, 200)]
    assert data.manifest["rows"]["interactions"] == {
        "read": 5,
        "kept": 4,
        "merged": {"a repeated pair of user and item": 1},
    }
    assert data.manifest["rows"]["triples"] == {"read": 4, "kept": 3, "merged": {"a repeated fact": 1}}
    assert data.manifest["times"] == ["1970-01-01T00:01:40Z", "1970-01-01T00:05:00Z"]


@pytest.mark.parametrize(("rule", "value"), [("last", 3), ("first", 1), ("max", 9)])
def test_value_of_a_repeated_pair(write, rule, value):
    path = write("c.csv", "user,item,rating,time\nu,a,3,500\nu,a,9,300\nu,a,1,100\n")
    assert read(interactions=path, value_rule=rule).interactions.values.tolist() == [value]


@pytest.mark.parametrize(("rule", "value"), [("last", 2), ("first", 7), ("max", 7)])
def test_ties_in_time_go_by_place_in_the_file(write, rule, value):
    path = write("c.csv", "user,item,rating,time\nu,a,7,100\nu,a,5,100\nu,a,2,100\n")
    assert read(interactions=path, value_rule=rule).interactions.values.tolist() == [value]
    without_times = read(interactions=path, value_rule=rule, time_column="none")
    assert without_times.interactions.values.tolist() == [value]
    assert without_times.interactions.times_s is None


def test_several_files_add_up_and_a_column_that_one_lacks_is_dropped(write, pairs_of):
    first = write("a.csv", "user,item,rating\nu,a,3\n")
    second = write("b.csv", "user,item\nu,b\nu,a\n")
    with pytest.warns(UserWarning, match="values of a.csv are not used, since b.csv has none: 1"):
        data = read(interactions=[first, second])
    assert pairs_of(data) == {("u", "a"), ("u", "b")}
    assert data.interactions.values is None
    with pytest.raises(DataError, match=r"values of a\.csv are not used, .*expected the same columns in every part"):
        read(interactions=[first, second], on_bad="fail")
    assert read(interactions=[first, second], on_bad="fail", value_column="none").interactions.values is None
    assert data.manifest["rows"]["interactions"]["read"] == 3


def test_links_join_items_and_entities_and_facts_move_along(write, clicks, facts_of):
    links = write("links.csv", "item,entity\na,m.1\nc,m.9\n")
    kg = write("kg.csv", "head,relation,tail\nm.1,by,p\np,likes,m.1\nb,by,p\n")
    data = read(interactions=clicks, triples=kg, links=links)
    v = data.vocabulary
    assert v.entities.array.to_pylist() == ["m.1", "item:b", "m.9", "b", "p"]  # with links, item b is not entity b
    assert facts_of(data) == {("m.1", "by", "p"), ("p", "likes", "m.1"), ("b", "by", "p")}
    assert data.manifest["counts"]["linked_items"] == 2
    assert data.graph.entity.heads.min() == 0  # the fact about m.1 stands in the row of item a


def test_wrong_links_are_counted_and_the_first_one_stands(write, clicks, kg):
    text = "item,entity\na,x\na,y\nb,x\nnowhere,y\na,x\nc,z\n,q\n"
    links = write("links.csv", text)
    report = validate(interactions=clicks, triples=kg, links=links)
    tally = next(tally for tally in report.tallies if tally.kind == "links")
    assert (tally.read, tally.kept) == (7, 2)
    assert tally.rejected == {
        "a second entity of one item": 1,
        "a second item of one entity": 1,
        "an item that occurs nowhere else": 1,
        "no item": 1,
    }
    assert tally.merged == {"a repeated link": 1}
    places = {reason: [place.line for place in found] for reason, found in tally.places.items()}
    assert places == {
        "a second entity of one item": [3],
        "a second item of one entity": [4],
        "an item that occurs nowhere else": [5],
        "no item": [8],
    }
    assert not report.clean


def test_a_link_to_an_unknown_item_fails_if_asked(write, clicks, kg, tmp_path):
    links = write("links.csv", "item,entity\na,x\nnowhere,y\n")
    with pytest.raises(
        DataError, match=r"links\.csv line 3: found an item that occurs nowhere else \(item=nowhere, entity=y\)"
    ):
        prepare(interactions=clicks, triples=kg, links=links, out=tmp_path / "out", on_bad="fail")
    assert not (tmp_path / "out").exists()


def test_triples_that_share_nothing_with_the_items(write, clicks):
    kg = write("kg.csv", "head,relation,tail\nm.1,by,p\n")
    with pytest.raises(DataError, match=r"items such as 'a', entities such as 'm\.1'.*Give a links file"):
        read(interactions=clicks, triples=kg)


def test_swapped_triple_columns_are_seen_and_the_order_can_be_said(write, facts_of):
    clicks = write("clicks.csv", "user,item\n" + "".join(f"u,i{n}\n" for n in range(40)))
    swapped = write("kg.tsv", "".join(f"i{n}\tthing{n}\t{'color' if n % 2 else 'shape'}\n" for n in range(40)))
    with pytest.raises(
        DataError, match=r"kg\.tsv: found 40 different relations, but only 40 heads and 2 tails.*--triple-order htr"
    ):
        read(interactions=clicks, triples=swapped)
    data = read(interactions=clicks, triples=swapped, triple_order="htr")
    assert ("i3", "color", "thing3") in facts_of(data)
    assert data.vocabulary.n_relations == 2
    relation_first = write("kg2.tsv", "".join(f"{'color' if n % 2 else 'shape'}\ti{n}\tthing{n}\n" for n in range(40)))
    with pytest.raises(DataError, match="--triple-order rht"):
        read(interactions=clicks, triples=relation_first)


def test_labels_of_every_kind_and_an_item_is_named_by_its_entity(write, clicks, kg):
    labels = write(
        "labels.csv",
        "kind,id,label\nuser,u2,Ann\nitem,a,Alien\nentity,a,Alien (film)\nentity,b,Brazil\nrelation,genre,has genre\n"
        "entity,b,Brasil\nentity,ghost,Boo\nentity,x,\n",
    )
    data = read(interactions=clicks, triples=kg, labels=labels)
    v = data.vocabulary
    assert [v.users.label(row) for row in range(2)] == ["Ann", "u10"]
    assert [v.items.label(row) for row in range(3)] == ["Alien", "Brazil", "c"]
    assert [v.entities.label(row) for row in range(5)] == ["Alien (film)", "Brazil", "item:c", "x", "y"]
    assert v.relations.label(0) == "has genre"
    assert data.manifest["rows"]["labels"]["rejected"] == {"no label": 1}
    assert data.manifest["rows"]["labels"]["merged"] == {"a further label of the same id": 1}
    assert data.manifest["rows"]["labels"]["skipped"] == {"a label of an id that is not in the data": 1}


def test_a_folder_is_the_same_to_the_byte_whatever_the_threads_and_the_memory(tmp_path, write):
    rng = np.random.default_rng(3)
    rows = "".join(
        f"u{rng.integers(900)},i{rng.integers(300)},{rng.integers(5)},{rng.integers(10**6)}\n" for _ in range(20_000)
    )
    clicks = write("clicks.csv", "user,item,rating,time\n" + rows)
    kg = write("kg.tsv", "".join(f"i{n % 300}\tr{n % 7}\te{n * 7 % 101}\n" for n in range(3000)))
    hashes = []
    for name, how in (("a", {"threads": 1}), ("b", {"threads": 4}), ("c", {"threads": 2, "memory": "100MB"})):
        prepare(interactions=clicks, triples=kg, out=tmp_path / name, k_core=3, **how)
        hashes.append({path.name: sha256(path) for path in (tmp_path / name).iterdir()})
    assert hashes[0] == hashes[1] == hashes[2]
    assert set(hashes[0]) == {
        f"{table}.parquet" for table in json.loads((tmp_path / "a/manifest.json").read_text())["tables"]
    } | {"manifest.json"}


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_the_order_of_rows_does_not_matter_where_times_differ(tmp_path_factory, data):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
    rows = [f"u{user},i{item},{number},{number}\n" for number, (user, item) in enumerate(pairs)]
    folder = tmp_path_factory.mktemp("order")
    hashes = []
    for name, order in (("a", rows), ("b", data.draw(st.permutations(rows)))):
        (folder / f"{name}.csv").write_text("user,item,rating,time\n" + "".join(order))
        report = prepare(interactions=folder / f"{name}.csv", out=folder / name, threads=1)
        hashes.append([sha256(folder / name / f"{table}.parquet") for table in ("users", "items", "interactions")])
        tally = report.tallies[0]
        assert tally.read == len(pairs) == tally.kept + tally.lost
        assert tally.kept == len(set(pairs))
    assert hashes[0] == hashes[1]


def test_the_counts_of_the_manifest_are_those_of_the_tables(tmp_path, write, clicks, kg):
    links = write("links.csv", "item,entity\na,a\nb,b\nghost,x\n")
    report = prepare(interactions=clicks, triples=kg, links=links, out=tmp_path / "out")
    data = Dataset.load(tmp_path / "out", verify=True)
    v = data.vocabulary
    assert {name: report.counts[name] for name in ("users", "items", "entities", "relations", "interactions", "triples")} == {
        "users": v.n_users,
        "items": v.n_items,
        "entities": v.n_entities,
        "relations": v.n_relations,
        "interactions": len(data.interactions),
        "triples": len(data.graph.entity),
    }
    assert data.manifest["source"][0]["files"] == [{"name": "clicks.csv", "bytes": len(CLICKS)}]
    assert str(tmp_path) not in json.dumps(data.manifest)  # a data set can be given away


def test_out_keeps_the_data_set_and_reading_it_again_loads_it(tmp_path, clicks, kg):
    first = read(interactions=clicks, triples=kg, out=tmp_path / "out")
    again = read(tmp_path / "out")
    assert again.vocabulary.entities == first.vocabulary.entities
    with pytest.raises(DataError, match="an earlier result"):
        read(interactions=clicks, out=tmp_path / "out")
    assert len(read(interactions=clicks, out=tmp_path / "out", overwrite=True).graph.entity) == 0
    assert Counter(path.name.startswith(".") for path in tmp_path.iterdir())[True] == 0


def test_nothing_left_is_an_error_that_says_why(tmp_path, clicks):
    with pytest.raises(DataError, match=r"interactions: found none left of 5 rows.*Loosen the filters"):
        read(interactions=clicks, k_core=5)
    with pytest.raises(DataError, match=r"found no interactions file.*--interactions"):
        read(labels=_labels(tmp_path))


def _labels(folder):
    (folder / "labels.tsv").write_text("m.1\tAnna\n")
    return folder / "labels.tsv"


def test_an_entity_may_not_pose_as_an_unlinked_item(write, clicks):
    kg = write("kg.csv", "head,relation,tail\na,r,b\n")
    links = write("links.csv", "item,entity\na,item:b\n")
    with pytest.raises(DataError, match="items 'a' and 'b' both standing for entity 'item:b'"):
        read(interactions=clicks, triples=kg, links=links)


def test_validate_looks_at_the_odd_corners(write):
    clicks = write("clicks.csv", "user,item\nu,a\nu,b\nu,a\n")
    kg = write("kg.csv", "head,relation,tail\na,r,x\nx,r,x\na,r,x\na,once,x\n")
    items = write("items.csv", "item,color\na,red\nz,\n")
    report = validate(interactions=clicks, triples=kg, item_attributes=items)
    found = {(finding.kind, finding.what): (finding.count, list(map(str, finding.places))) for finding in report.findings}
    assert found == {
        ("interactions", "a repeated pair of user and item"): (1, [f"{clicks} line 4: user=u, item=a"]),
        ("triples", "a repeated fact"): (1, [f"{kg} line 4: head=a, relation=r, tail=x"]),
        ("triples", "a fact that links an entity to itself"): (1, [f"{kg} line 3: head=x, relation=r, tail=x"]),
        ("data", "items without a fact"): (2, ["b", "z"]),
        ("data", "items without an interaction"): (1, ["z"]),
        ("data", "relations with a single fact"): (2, ["once", "color"]),
    }
    assert report.clean  # notes are no problems
    assert report.out is None


def test_validate_writes_nothing_and_goes_on_after_an_empty_file(tmp_path, write, clicks):
    write("links.csv", "")
    before = sorted(tmp_path.iterdir())
    report = validate(interactions=clicks, links=tmp_path / "links.csv")
    assert [finding.what for finding in report.findings if finding.level == "problem"] == [
        f"an empty file ({tmp_path / 'links.csv'})"
    ]
    assert report.counts["interactions"] == 4
    assert sorted(tmp_path.iterdir()) == before


def test_validate_of_a_prepared_data_set_compares_checksums(tmp_path, clicks):
    prepare(interactions=clicks, out=tmp_path / "out")
    assert validate(tmp_path / "out").clean
    with (tmp_path / "out" / "users.parquet").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(DataError, match=r"users\.parquet: found SHA-256"):
        validate(tmp_path / "out")
