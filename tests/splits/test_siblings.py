"""Siblings: items that share their rarest entity."""

from metakg.data.siblings import sibling_groups


def groups(dataset, limit=100):
    """Groups of two or more, by item id."""
    number, v = sibling_groups(dataset.vocabulary, dataset.graph, limit), dataset.vocabulary
    found: dict[int, set[str]] = {}
    for row, group in enumerate(number.tolist()):
        found.setdefault(group, set()).add(v.items.id(row))
    return sorted(map(sorted, found.values()))


def data(build, facts, items="abcdef", **options):
    return build([("u", item, 0) for item in items], facts, **options)


def test_the_rarest_shared_entity_decides(build):
    facts = [("a", "on", "album"), ("b", "on", "album"), *((item, "in", "genre") for item in "abcd"), ("e", "on", "single")]
    assert groups(data(build, facts)) == [["a", "b"], ["c", "d"], ["e"], ["f"]]


def test_an_entity_of_too_many_items_makes_no_siblings(build):
    facts = [(item, "in", "genre") for item in "abcd"]
    assert groups(data(build, facts), limit=3) == [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
    assert groups(data(build, facts), limit=4) == [["a", "b", "c", "d"], ["e"], ["f"]]


def test_a_fact_counts_once_and_in_both_directions(build):
    facts = [("a", "on", "album"), ("a", "first on", "album"), ("album", "holds", "b")]
    assert groups(data(build, facts)) == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_a_tie_goes_to_the_first_id(build):
    facts = [("a", "on", "x"), ("b", "on", "x"), ("b", "on", "y"), ("c", "on", "y")]
    expected = [["a", "b"], ["c"], ["d"], ["e"], ["f"]]
    for order in (None, 1, 2, 3):
        assert groups(data(build, facts, order=order)) == expected


def test_without_facts_everyone_is_alone(build):
    assert groups(data(build, [])) == [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
