import gzip
import json

import pytest

from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.readers.assemble import prepare
from metakg.readers.options import ReadOptions
from metakg.readers.yelp import paper_options, stage_yelp

THAI, BAR = "1-thaiQ_jdkqeuw88fh2gA", "_bar-u3nIEYw2jsxx8wadQ"  # ids that begin with a digit and with an underscore


def review(user, business, *, stars=4.0, date="2018-07-07 22:09:11", **more):
    entry = {"review_id": "r", "user_id": user, "business_id": business, "stars": stars, "useful": 0, "text": "Good.\nVery."}
    return json.dumps({**entry, "date": date, **more})


def business(key, **fields):
    entry = {"business_id": key, "name": f"Name of {key[:5]}", "city": "Mesa", "state": "AZ", "stars": 3.5, "review_count": 9}
    return json.dumps({**entry, "is_open": 1, "categories": "Thai, Bars", "attributes": None, **fields})


def write(path, lines):
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def raw(tmp_path):
    """A folder with three reviews of two businesses, and what is known of them."""
    folder = tmp_path / "raw"
    folder.mkdir()
    write(folder / "yelp_academic_dataset_review.json", [review("u1", THAI), review("u2", THAI, stars=1.0), review("u1", BAR)])
    attributes = {
        "WiFi": "u'free'",
        "HasTV": "True",
        "DogsAllowed": "False",
        "Alcohol": "'none'",
        "RestaurantsPriceRange2": "2",
        "Ambience": "{'romantic': False, 'casual': True, 'hipster': None}",
        "Music": "None",
    }
    lines = [business(THAI, attributes=attributes), business(BAR, city="Montréal", state="QC", categories=None)]
    write(folder / "yelp_academic_dataset_business.json", lines)
    return folder


@pytest.fixture
def kgat(tmp_path):
    """A release as KGAT writes it: no space between the last two columns of item_list.txt, entity ids with spaces."""
    folder = tmp_path / "kgat"
    folder.mkdir()
    write(folder / "item_list.txt", ["org_id remap_id freebase_id", f"{THAI} 0{THAI}", f"{BAR} 1{BAR}"])
    write(folder / "user_list.txt", ["org_id remap_id", "u1 0"])
    write(folder / "entity_list.txt", ["org_id remap_id", f"{THAI} 0", f"{BAR} 1", "categories::Ice Cream & Frozen Yogurt 2"])
    write(folder / "relation_list.txt", ["org_id remap_id", "categories 0"])
    write(folder / "kg_final.txt", ["0 0 2", "1 0 2"])
    return folder


def run(path, tmp_path, **options):
    checked = ReadOptions.parse(options)
    report = prepare(
        [lambda stage: stage_yelp(stage, path, checked)],
        checked,
        tmp_path / "out",
    )
    return Dataset.load(tmp_path / "out"), {tally.kind: tally for tally in report.tallies}


def pairs(data):
    """{(user id, business id): (stars, time)} of a data set."""
    found, v = data.interactions, data.vocabulary
    keys = zip(v.users.ids(found.users), v.items.ids(found.items), strict=True)
    return dict(zip(keys, zip(found.values.tolist(), found.times_s.tolist(), strict=True), strict=True))


def facts(data, business_id):
    """{(relation, entity id)} of one business."""
    graph, v = data.graph.entity, data.vocabulary
    mine = graph.select(graph.heads == v.items.row(business_id))
    return set(zip(v.relations.ids(mine.relations), v.entities.ids(mine.tails), strict=True))


def test_reviews_are_interactions_with_stars_and_times(tmp_path, raw):
    data, tallies = run(raw, tmp_path)
    when = 1_531_001_351  # 2018-07-07 22:09:11 UTC
    assert pairs(data) == {("u1", THAI): (4.0, when), ("u2", THAI): (1.0, when), ("u1", BAR): (4.0, when)}
    assert tallies["interactions"].read == 3


def test_the_day_alone_is_midnight(tmp_path, raw):
    write(raw / "yelp_academic_dataset_review.json", [review("u1", THAI, date="2011-02-25")])
    data, _ = run(raw, tmp_path)
    assert pairs(data)["u1", THAI] == (4.0, 1_298_592_000)


def test_the_plain_network_holds_what_holds_and_nothing_that_reviews_decide(tmp_path, raw):
    data, _ = run(raw, tmp_path)
    assert facts(data, THAI) == {
        ("city", "city::Mesa, AZ"),
        ("state", "state::AZ"),
        ("categories", "categories::Thai"),
        ("categories", "categories::Bars"),
        ("attributes::WiFi", "attributes::WiFi::free"),
        ("attributes::HasTV", "attributes::HasTV::True"),
        ("attributes::RestaurantsPriceRange2", "attributes::RestaurantsPriceRange2::2"),
        ("attributes::Ambience", "attributes::Ambience::casual"),
    }
    assert facts(data, BAR) == {("city", "city::Montréal, QC"), ("state", "state::QC")}


def test_names_are_for_people(tmp_path, raw):
    data, _ = run(raw, tmp_path)
    v = data.vocabulary
    assert v.items.label(v.items.row(BAR)) == "Name of _bar-, Montréal"
    labels = {name: v.entity_label(v.entities.row(name)) for name in v.entities.array.to_pylist()}
    assert labels["city::Mesa, AZ"] == "Mesa, AZ"
    assert labels["categories::Thai"] == "Thai"
    assert labels["attributes::HasTV::True"] == "Has TV"
    assert labels["attributes::RestaurantsPriceRange2::2"] == "Price Range: 2"
    assert v.relations.label(v.relations.row("attributes::WiFi")) == "WiFi"


def test_older_editions_write_lists_and_real_objects(tmp_path, raw):
    lines = [
        business(THAI, categories=["Thai", "Bars", "Thai"], attributes=["HasTV: True", "Ambience: {'casual': True}", "odd"]),
        business(BAR, categories=[], attributes={"Ambience": {"casual": True, "divey": False}, "GoodForKids": True}),
    ]
    write(raw / "yelp_academic_dataset_business.json", lines)
    data, _ = run(raw, tmp_path)
    assert facts(data, THAI) >= {
        ("categories", "categories::Thai"),
        ("attributes::HasTV", "attributes::HasTV::True"),
        ("attributes::Ambience", "attributes::Ambience::casual"),
    }
    assert facts(data, BAR) >= {("attributes::GoodForKids", "attributes::GoodForKids::True")}
    assert ("attributes::Ambience", "attributes::Ambience::divey") not in facts(data, BAR)


def test_kgats_network_has_its_ids_and_drops_what_is_rare(tmp_path, raw):
    same = {"HasTV": "False", "Music": "{'dj': False, 'live': True}"}
    lines = [business(THAI, attributes=same, categories="Thai, Rare"), business(BAR, attributes=same, categories=None)]
    lines += [business(f"other-{n:02}", attributes=same, categories=None) for n in range(60)]
    write(raw / "yelp_academic_dataset_business.json", lines)
    data, tallies = run(raw, tmp_path, network="kgat")
    common = {
        ("city", "city::Mesa"),
        ("state", "state::AZ"),
        ("stars", "stars::3.5"),
        ("attributes::HasTV", "attributes::HasTV::False"),
        ("attributes::Music", "attributes::Music::{'dj': False_ 'live': True}"),
    }
    assert facts(data, THAI) == common  # no other business is Thai or Rare
    assert facts(data, BAR) == common | {("categories", "categories::None")}
    assert not any(name.startswith("other") for name in data.vocabulary.entities.array.to_pylist())  # six facts each
    assert dict(tallies["triples"].skipped) == {"an entity with fewer than 10 facts": 2 + 60 * 6}


def test_kgats_network_keeps_businesses_without_reviews_that_have_ten_facts(tmp_path, raw):
    many = {f"A{n}": "True" for n in range(9)}
    lines = [business(THAI, attributes=many), *(business(f"other-{n:02}", attributes=many) for n in range(60))]
    write(raw / "yelp_academic_dataset_business.json", lines)
    data, _ = run(raw, tmp_path, network="kgat")
    assert "other-59" in data.vocabulary.entities
    assert "other-59" not in data.vocabulary.items
    assert data.vocabulary.entities.row(THAI) == data.vocabulary.items.row(THAI)


def test_joined_with_a_release_its_graph_replaces_the_network(tmp_path, raw, kgat):
    data, tallies = run(raw, tmp_path, kgat=kgat)
    assert facts(data, THAI) == facts(data, BAR) == {("categories", "categories::Ice Cream & Frozen Yogurt")}
    assert data.vocabulary.items.label(data.vocabulary.items.row(THAI)) == "Name of 1-tha, Mesa"
    data, tallies = run(raw, tmp_path, kgat=kgat, follow="users", overwrite=True)
    assert set(pairs(data)) == {("u1", THAI), ("u1", BAR)}
    assert dict(tallies["interactions"].skipped) == {"a user that the KGAT release does not have": 1}
    (raw / "yelp_academic_dataset_business.json").unlink()
    data, _ = run(raw, tmp_path, kgat=kgat, overwrite=True)
    assert data.vocabulary.items.label(data.vocabulary.items.row(THAI)) == THAI
    with pytest.raises(ConfigError, match="option network"):
        run(raw, tmp_path, kgat=kgat, network="kgat", overwrite=True)


def test_the_papers_options(tmp_path, raw, kgat):
    assert paper_options(kgat) == {"kgat": kgat, "follow": "users", "k_core": 10}
    assert paper_options(None) == {"network": "kgat", "k_core": 10}
    users, shops = [f"u{n}" for n in range(10)], [f"shop-{n}" for n in range(10)]
    reviews = [review(user, shop) for user in users for shop in shops] + [review("u1", THAI)]
    write(raw / "yelp_academic_dataset_review.json", reviews)
    write(raw / "yelp_academic_dataset_business.json", [business(shop) for shop in [*shops, THAI]])
    data, tallies = run(raw, tmp_path, **{**paper_options(None), "network": "plain"})
    assert set(pairs(data)) == {(user, shop) for user in users for shop in shops}
    assert THAI not in data.vocabulary.items
    assert tallies["interactions"].filtered == {"10-core": 1}


def test_the_year_of_joining_is_a_fact_on_request(tmp_path, raw):
    users = [
        json.dumps({"user_id": "u1", "name": "N", "yelping_since": "2007-01-25 16:47:26", "friends": "a, b", "elite": "2009"}),
        json.dumps({"user_id": "u2", "yelping_since": "recently"}),
        json.dumps({"user_id": "u9", "yelping_since": "2010-03"}),
        "no JSON",
    ]
    write(raw / "yelp_academic_dataset_user.json.gz", users)
    data, tallies = run(raw, tmp_path, user_facts=True)
    v, found = data.vocabulary, data.graph.user
    assert v.users.ids(found.heads) == ["u1"]
    assert v.relations.ids(found.relations) == ["yelping_since"]
    assert v.entities.ids(found.tails) == ["yelping_since::2007"]
    tally = tallies["user_triples"]
    assert dict(tally.rejected) == {"a bad date": 1, "a line that is no user in JSON": 1}
    assert dict(tally.skipped) == {"a user without a review": 1}
    assert [place.line for place in tally.places["a line that is no user in JSON"]] == [4]
    (raw / "yelp_academic_dataset_user.json.gz").unlink()
    with pytest.raises(DataError, match=r"no yelp_academic_dataset_user\.json"):
        run(raw, tmp_path, user_facts=True, overwrite=True)


# Bad input


def test_bad_lines_are_counted_by_reason_with_their_lines(tmp_path, raw):
    reviews = [
        review("u1", THAI),
        "{broken",
        review("u2", THAI, date="soon"),
        review("u3", THAI, stars="many"),
        review("u4", None),
    ]
    write(raw / "yelp_academic_dataset_review.json", reviews)
    write(
        raw / "yelp_academic_dataset_business.json", [business(THAI), "{broken", json.dumps({"name": "No id"}), business(BAR)]
    )
    data, tallies = run(raw, tmp_path)
    assert set(pairs(data)) == {("u1", THAI)}
    wheres = {reason: [place.line for place in places] for reason, places in tallies["interactions"].places.items()}
    assert wheres == {"a line that is no review in JSON": [2], "a bad time": [3], "a bad value": [4], "no item": [5]}
    labels = tallies["labels"]
    assert dict(labels.rejected) == {"a line that is no business in JSON": 1, "no id": 1}
    assert [place.line for place in labels.places["a line that is no business in JSON"]] == [2]
    assert [place.line for place in labels.places["no id"]] == [3]


def test_bytes_and_escapes_that_are_no_text_break_a_line_and_nothing_else(tmp_path, raw):
    lines = [business(THAI), business("lone").replace("lone", "\\ud800"), business(BAR)]
    path = write(raw / "yelp_academic_dataset_business.json", lines)
    path.write_bytes(path.read_bytes() + business("bytes").encode().replace(b"bytes", b"\x80\xff") + b"\n")
    data, tallies = run(raw, tmp_path)
    assert set(data.vocabulary.items.array.to_pylist()) == {THAI, BAR}
    assert dict(tallies["labels"].rejected) == {"a line that is no business in JSON": 2}


def test_swapped_files_are_named_as_such(tmp_path, raw):
    reviews, businesses = (raw / f"yelp_academic_dataset_{name}.json" for name in ("review", "business"))
    with pytest.raises(DataError, match=r"an object with the keys business_id, name.*expected a review"):
        run(businesses, tmp_path)
    businesses.write_text(reviews.read_text())
    with pytest.raises(DataError, match=r"an object with the keys review_id, user_id.*expected a business"):
        run(raw, tmp_path)


def test_files_that_are_not_there(tmp_path, raw, kgat):
    (raw / "yelp_academic_dataset_business.json").unlink()
    with pytest.raises(DataError, match=r"no yelp_academic_dataset_business\.json; expected it beside the reviews"):
        run(raw, tmp_path)
    write(raw / "yelp_academic_dataset_review.json", [review("u1", "elsewhere")])
    with pytest.raises(DataError, match="no interaction with the 2 items"):
        run(raw, tmp_path, kgat=kgat)
    (raw / "yelp_academic_dataset_review.json").unlink()
    with pytest.raises(DataError, match="no file of Yelp reviews"):
        run(raw, tmp_path)
