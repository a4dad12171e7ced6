from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.errors import ConfigError
from metakg.readers import read
from metakg.readers.filters import apply_counts, row_filters, seconds
from metakg.readers.options import ReadOptions


def slow_core(pairs, items_of_user, users_of_item):
    """Remove one user or item with too few at a time until nothing changes; the order of removal cannot matter."""
    pairs = set(pairs)
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        poor = [u for u, n in users.items() if n < items_of_user]
        rare = [i for i, n in items.items() if n < users_of_item]
        if poor:
            pairs = {(u, i) for u, i in pairs if u != poor[0]}
        elif rare:
            pairs = {(u, i) for u, i in pairs if i != rare[0]}
        else:
            return pairs


def apply(connection, pairs, **options):
    connection.execute("CREATE OR REPLACE TABLE pairs (user INTEGER, item INTEGER)")
    for pair in pairs:
        connection.execute("INSERT INTO pairs VALUES (?, ?)", pair)
    steps = apply_counts(connection, ReadOptions(**options))
    return set(connection.execute("SELECT user, item FROM pairs").fetchall()), steps


@given(
    pairs=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30),
    items=st.integers(0, 4),
    users=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_minima_agree_with_removing_one_at_a_time(pairs, items, users):
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        left, steps = apply(connection, pairs, min_items_per_user=items, min_users_per_item=users)
    assert left == slow_core(pairs, items, users)
    if steps:
        lost = [len(set(column)) for column in zip(*pairs, strict=True)] if pairs else [0, 0]
        kept = [len({pair[side] for pair in left}) for side in (0, 1)]
        assert (steps[0].interactions, steps[0].users, steps[0].items) == (
            len(pairs) - len(left),
            lost[0] - kept[0],
            lost[1] - kept[1],
        )
    else:
        assert max(items, users) <= 1


def test_a_k_core_takes_as_many_rounds_as_it_needs(connection):
    chain = [(n, n) for n in range(6)] + [(n + 1, n) for n in range(5)]  # falls apart from one end, a link at a time
    left, steps = apply(connection, [*chain, *((u, i) for u in (10, 11) for i in (20, 21))], k_core=2)
    assert left == {(u, i) for u in (10, 11) for i in (20, 21)}
    assert steps[0].name == "2-core"
    assert steps[0].rounds > 3


def test_users_with_too_many_items_leave_first_and_once(connection):
    pairs = [(0, item) for item in range(5)] + [(1, item) for item in range(3)] + [(2, 0)]
    left, steps = apply(connection, pairs, max_items_per_user=3, min_items_per_user=2)
    assert left == {(1, item) for item in range(3)}
    assert [(step.name, step.interactions, step.users) for step in steps] == [
        ("users with more than 3 items", 5, 1),
        ("users with under 2 items, items with under 0 users", 1, 1),
    ]


CLICKS = "user,item,rating,time\nu,a,1,100\nu,b,2,200\nu,c,3,300\nv,c,5,300\nv,a,4,400\n"


def test_row_filters_say_what_they_removed(write):
    path = write("c.csv", CLICKS)
    data = read(interactions=path, min_value=2, from_time="1970-01-01T00:03:20Z", to_time="400")
    assert sorted(data.interactions.values.tolist()) == [2, 3, 5]
    rows = data.manifest["rows"]["interactions"]
    assert rows["filtered"] == {"value below 2": 1, "time before 1970-01-01T00:03:20Z": 0, "time from 400": 1}
    assert data.manifest["options"] == {"min_value": 2.0, "from_time": "1970-01-01T00:03:20Z", "to_time": "400"}


def test_a_threshold_applies_before_pairs_collapse(write):
    path = write("c.csv", "user,item,rating,time\nu,a,1,100\nu,a,5,200\n")
    data = read(interactions=path, min_value=4)
    assert data.interactions.times_s.tolist() == [200]
    assert "merged" not in data.manifest["rows"]["interactions"]


def test_facts_links_and_users_follow_what_a_core_removes(write, facts_of, about_users):
    clicks = write("c.csv", "user,item\nu,a\nu,b\nv,a\nv,b\nw,c\n")
    items = write("items.csv", "item,color\na,red\nc,blue\nd,red\n")
    users = write("users.csv", "user,city\nu,Ulm\nw,Bonn\n")
    links = write("links.csv", "item,entity\na,m.a\nc,m.c\n")
    kg = write("kg.csv", "head,relation,tail\nm.a,by,p\nm.c,by,p\n")
    data = read(interactions=clicks, item_attributes=items, user_attributes=users, links=links, triples=kg, k_core=2)
    assert data.vocabulary.items.array.to_pylist() == ["a", "b"]
    assert data.vocabulary.users.array.to_pylist() == ["u", "v"]
    # the removed item is no item any more, but its entity still says something about p
    assert facts_of(data) == {("m.a", "by", "p"), ("m.c", "by", "p"), ("m.a", "color", "color:red")}
    assert about_users(data) == {("u", "city", "city:Ulm")}
    rows = data.manifest["rows"]
    assert rows["links"]["filtered"] == {"an item that a filter removed": 1}
    assert rows["item_triples"]["filtered"] == {"an item that a filter removed": 2}
    assert rows["user_triples"]["filtered"] == {"a user that a filter removed": 1}
    assert data.manifest["filters"] == [{"filter": "2-core", "interactions": 1, "users": 1, "items": 1, "rounds": 2}]


def test_a_catalogue_keeps_items_without_a_click_unless_a_minimum_is_set(write):
    clicks = write("c.csv", "user,item\nu,a\n")
    items = write("items.csv", "item,color\na,red\nnew,red\n")
    assert read(interactions=clicks, item_attributes=items).vocabulary.items.array.to_pylist() == ["a", "new"]
    kept = read(interactions=clicks, item_attributes=items, min_users_per_item=1)
    assert kept.vocabulary.items.array.to_pylist() == ["a"]


def test_a_filter_needs_its_column(write):
    path = write("c.csv", "user,item\nu,a\n")
    with pytest.raises(ConfigError, match=r"option min_value: found a filter by value \(rating\).*--value-column"):
        read(interactions=path, min_value=3)
    with pytest.raises(ConfigError, match=r"option to_time: found a filter by time.*--time-column"):
        read(interactions=path, to_time="2020-01-01")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1406116800", 1_406_116_800), ("2014-07-23", 1_406_073_600), ("2014-07-23T14:00:00+02:00", 1_406_116_800)],
)
def test_times_of_a_window(text, expected):
    assert seconds(text, "from_time") == expected


def test_a_time_that_is_none():
    with pytest.raises(ConfigError, match="option from_time: found 'soon'; expected ISO 8601"):
        row_filters(ReadOptions(from_time="soon"), has_value=True, has_time=True)
