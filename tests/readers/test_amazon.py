import gzip
import json

import pytest

from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.readers.amazon import paper_options, stage_amazon
from metakg.readers.assemble import prepare
from metakg.readers.options import ReadOptions

BOOKS = ("0000000001", "000000000X", "B000000003")
DAY = 86_400


def review(user, item, *, stars=5.0, time=DAY, **more):
    """A review in the keys of 2014 and 2018; further keys as the real files have them."""
    entry = {"reviewerID": user, "asin": item, "reviewerName": "N", "helpful": [2, 3], "overall": stars}
    return json.dumps({**entry, "unixReviewTime": time, "reviewText": 'He said "no, never"\u2026', **more})


def write(path, lines):
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def kgat(tmp_path):
    """A release with two of the three books, two users, and a graph of three facts."""
    folder = tmp_path / "kgat"
    folder.mkdir()
    write(folder / "item_list.txt", ["org_id remap_id freebase_id", f"{BOOKS[0]} 0 m.one", f"{BOOKS[1]} 1 m.two"])
    write(folder / "user_list.txt", ["org_id remap_id", "A1 0", "A2 1"])
    write(folder / "entity_list.txt", ["org_id remap_id", "m.one 0", "m.two 1", "m.author 2"])
    write(folder / "relation_list.txt", ["org_id remap_id", "http://rdf.freebase.com/ns/book.written_work.author 0"])
    write(folder / "kg_final.txt", ["0 0 2", "1 0 2", "2 0 0"])
    return folder


def run(path, tmp_path, **options):
    checked = ReadOptions.parse(options)
    report = prepare([lambda stage: stage_amazon(stage, path, checked)], checked, tmp_path / "out")
    return Dataset.load(tmp_path / "out"), {tally.kind: tally for tally in report.tallies}, report


def pairs(data):
    """{(user id, item id): (value, time)} of a data set."""
    found, v = data.interactions, data.vocabulary
    keys = zip(v.users.ids(found.users), v.items.ids(found.items), strict=True)
    return dict(zip(keys, zip(found.values.tolist(), found.times_s.tolist(), strict=True), strict=True))


@pytest.mark.parametrize("name", ["reviews_Books_5.json", "reviews_Books_5.json.gz"])
def test_reviews_of_2014_are_interactions_with_stars_and_times(tmp_path, name):
    path = write(tmp_path / name, [review("A1", BOOKS[0], stars=4.0, time=3 * DAY), review("A2", BOOKS[1], time=DAY)])
    data, tallies, _ = run(path, tmp_path)
    assert pairs(data) == {("A1", BOOKS[0]): (4.0, 3 * DAY), ("A2", BOOKS[1]): (5.0, DAY)}
    assert (tallies["interactions"].read, tallies["interactions"].kept) == (2, 2)


def test_a_book_reviewed_twice_is_one_pair_with_its_first_time(tmp_path):
    lines = [review("A1", BOOKS[0], stars=2.0, time=9 * DAY), review("A1", BOOKS[0], stars=4.0, time=2 * DAY)]
    data, tallies, _ = run(write(tmp_path / "reviews_Books.json", lines), tmp_path)
    assert pairs(data) == {("A1", BOOKS[0]): (2.0, 2 * DAY)}  # the value of the last, the time of the first
    assert tallies["interactions"].merged == {"a repeated pair of user and item": 1}


def test_without_a_number_the_time_is_read_from_words(tmp_path):
    worded = json.dumps({"reviewerID": "A1", "asin": BOOKS[0], "overall": 5.0, "reviewTime": "03 9, 2013"})
    data, _, _ = run(write(tmp_path / "Books_5.json", [worded, review("A2", BOOKS[0])]), tmp_path)
    assert pairs(data) == {("A1", BOOKS[0]): (5.0, 1_362_787_200), ("A2", BOOKS[0]): (5.0, DAY)}


def test_reviews_of_2023_have_other_keys_and_milliseconds(tmp_path):
    lines = [
        json.dumps({"rating": 3.0, "user_id": f"U{n}", "asin": "x", "parent_asin": BOOKS[n], "timestamp": 1_588_687_728_923})
        for n in range(3)
    ]
    data, _, _ = run(write(tmp_path / "Books.jsonl", lines), tmp_path)
    assert pairs(data) == {(f"U{n}", BOOKS[n]): (3.0, 1_588_687_728) for n in range(3)}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("ratings_Books.csv", ["AH2L9G3DQHHAJ,0000000001,4.0,1019865600", "A2IIIDRK3PRRZY,000000000X,1.0,1395619200"]),
        ("Books.csv", ["0000000001,AH2L9G3DQHHAJ,4.0,1019865600", "000000000X,A2IIIDRK3PRRZY,1.0,1395619200"]),
        (
            "Books.csv.gz",
            [
                "user_id,parent_asin,rating,timestamp",
                "AH2L9G3DQHHAJ,0000000001,4.0,1019865600000",
                "A2IIIDRK3PRRZY,000000000X,1.0,1395619200000",
            ],
        ),
    ],
)
def test_ratings_only_files_in_all_three_column_orders(tmp_path, name, lines):
    data, _, _ = run(write(tmp_path / name, lines), tmp_path)
    assert pairs(data) == {
        ("AH2L9G3DQHHAJ", "0000000001"): (4.0, 1_019_865_600),
        ("A2IIIDRK3PRRZY", "000000000X"): (1.0, 1_395_619_200),
    }


def test_joined_with_a_release_only_its_books_stay_and_the_others_are_counted(tmp_path, kgat):
    lines = [review("A1", BOOKS[0]), review("A2", BOOKS[1]), review("A3", BOOKS[1]), review("A1", BOOKS[2])]
    data, tallies, report = run(write(tmp_path / "reviews_Books_5.json", lines), tmp_path, kgat=kgat)
    assert set(pairs(data)) == {("A1", BOOKS[0]), ("A2", BOOKS[1]), ("A3", BOOKS[1])}
    assert tallies["interactions"].read == 4
    assert tallies["interactions"].skipped == {"an item that the KGAT release does not have": 1}
    v = data.vocabulary
    assert v.entities.ids(data.graph.entity.heads) == ["m.one", "m.two", "m.author"]
    assert v.entities.ids(data.graph.entity.tails) == ["m.author", "m.author", "m.one"]
    assert [v.entities.row(name) for name in ("m.one", "m.two")] == [v.items.row(BOOKS[0]), v.items.row(BOOKS[1])]
    [source] = [source for source in report.sources if source["format"] == "amazon-book"]
    assert source["options"] == {"release_items": 2, "release_items_found": 2}


def test_books_of_the_release_that_nobody_reviewed_are_no_problem(tmp_path, kgat):
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", BOOKS[0])])
    _, tallies, report = run(path, tmp_path, kgat=kgat, on_bad="fail")
    assert dict(tallies["links"].skipped) == {"an item without an interaction": 1}
    assert report.clean


def test_following_users_and_pairs_of_a_release(tmp_path, kgat):
    lines = [review(user, book) for user in ("A1", "A2", "A3") for book in BOOKS]
    path = write(tmp_path / "reviews_Books_5.json", lines)
    data, tallies, _ = run(path, tmp_path, kgat=kgat, follow="users")
    assert set(pairs(data)) == {(user, book) for user in ("A1", "A2") for book in BOOKS[:2]}
    assert tallies["interactions"].skipped == {
        "an item that the KGAT release does not have": 3,
        "a user that the KGAT release does not have": 2,
    }
    with pytest.raises(DataError, match=r"train\.txt: found no such file.*--optional.*--follow users"):
        run(path, tmp_path, kgat=kgat, follow="pairs", overwrite=True)
    write(kgat / "train.txt", ["0 0", "1"])
    write(kgat / "test.txt", ["1 1 1"])
    data, tallies, _ = run(path, tmp_path, kgat=kgat, follow="pairs", overwrite=True)
    assert set(pairs(data)) == {("A1", BOOKS[0]), ("A2", BOOKS[1])}
    assert tallies["interactions"].skipped["a pair that the KGAT release does not have"] == 2


def test_the_papers_options_cut_to_the_ten_core_of_the_release(tmp_path, kgat):
    books = [f"{n:010}" for n in range(12)]
    users = [f"A{n}" for n in range(12)]
    write(kgat / "item_list.txt", ["org_id remap_id freebase_id", *(f"{book} {n} m.{n}" for n, book in enumerate(books))])
    write(kgat / "entity_list.txt", ["org_id remap_id", *(f"m.{n}" + f" {n}" for n in range(12)), "m.author 12"])
    write(kgat / "user_list.txt", ["org_id remap_id", *(f"{user} {n}" for n, user in enumerate(users))])
    write(kgat / "kg_final.txt", ["0 0 12", "11 0 12"])
    lines = [review(user, book, time=DAY * (n + 1)) for n, user in enumerate(users[:10]) for book in books[:11]]
    lines += [review(users[11], book) for book in books[:9]]  # nine books are too few
    lines += [review("A99", book) for book in books]  # no user of the release
    data, tallies, report = run(write(tmp_path / "reviews_Books_5.json", lines), tmp_path, **paper_options(kgat))
    assert set(pairs(data)) == {(user, book) for user in users[:10] for book in books[:11]}
    assert [(step.name, step.interactions) for step in report.filters] == [("10-core", 9)]
    tally = tallies["interactions"]
    assert tally.read == len(lines) == tally.kept + tally.lost


# Titles


def test_titles_lie_beside_the_reviews_in_either_edition(tmp_path):
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", book) for book in BOOKS])
    lines = [
        "{'asin': '0000000001', 'salesRank': {'Books': 6334800}, 'title': 'Tom\\'s  &amp; Jerry\\'s', 'related': {}}",
        json.dumps({"asin": BOOKS[1], "title": 'The "Crucible"'}),
        "{'asin': 'B000000003', 'categories': [['Books']]}",
        "{'asin': '9999999999', 'title': 'Nobody reviewed it'}",
        "{'asin': '000000000X', 'title': broken",
    ]
    write(tmp_path / "meta_Books.json.gz", lines)
    data, tallies, _ = run(path, tmp_path)
    v = data.vocabulary
    labels = {book: v.items.label(v.items.row(book)) for book in BOOKS}
    assert labels == {BOOKS[0]: "Tom's & Jerry's", BOOKS[1]: 'The "Crucible"', BOOKS[2]: BOOKS[2]}
    assert tallies["labels"].skipped == {"a title of a book without a review": 1, "a book without a title": 1}
    assert tallies["labels"].rejected == {"a line that is no book in JSON or as a Python literal": 1}
    [place] = tallies["labels"].places["a line that is no book in JSON or as a Python literal"]
    assert place.where == f"{tmp_path / 'meta_Books.json.gz'} line 5"


def test_titles_that_nobody_wants_do_no_harm(tmp_path):
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", BOOKS[0])])
    write(tmp_path / "meta_Books.json", ["{'asin': '9999999999', 'title': 'Nobody reviewed it'}"])
    data, tallies, _ = run(path, tmp_path)
    assert data.vocabulary.items.label(0) == BOOKS[0]
    assert (tallies["labels"].read, tallies["labels"].kept) == (1, 0)


# Bad input


def test_bad_lines_are_counted_by_reason_with_their_lines(tmp_path):
    lines = [
        review("A1", BOOKS[0]),
        "this is no JSON",
        "",
        json.dumps({"asin": BOOKS[0], "overall": 5.0, "unixReviewTime": DAY}),
        json.dumps({"reviewerID": "A1", "overall": 5.0, "unixReviewTime": DAY}),
        review("A2", BOOKS[0], stars="five"),
        review("A3", BOOKS[0], time="yesterday"),
        json.dumps({"reviewerID": "A4", "asin": BOOKS[0], "overall": 5.0}),
        '["a", "list"]',
        review("A5", BOOKS[1])[:-5],
        review("A6", BOOKS[1]),
    ]
    data, tallies, _ = run(write(tmp_path / "reviews_Books_5.json", lines), tmp_path)
    assert set(pairs(data)) == {("A1", BOOKS[0]), ("A6", BOOKS[1])}
    tally = tallies["interactions"]
    assert tally.rejected == {
        "a line that is no review in JSON": 3,
        "no user": 1,
        "no item": 1,
        "a bad value": 1,
        "a bad time": 1,
        "no time": 1,
    }
    assert tally.read == 10  # the blank line is no row
    wheres = {reason: [place.line for place in places] for reason, places in tally.places.items()}
    assert wheres == {
        "a line that is no review in JSON": [2, 9, 10],
        "no user": [4],
        "no item": [5],
        "a bad value": [6],
        "a bad time": [7],
        "no time": [8],
    }


def test_bad_lines_may_be_forbidden(tmp_path):
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", BOOKS[0]), "no JSON"])
    with pytest.raises(DataError, match=r"reviews_Books_5\.json line 2: found a line that is no review in JSON"):
        run(path, tmp_path, on_bad="fail")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("meta_Books.json", ["{'asin': '0000000001', 'title': 'T'}"], r"line 1: found \"{'asin'.*expected a review as a JSON"),
        ("x.json", ['{"business_id": "b", "name": "n"}'], "an object with the keys business_id, name; expected a review"),
        ("x.json", ["[1, 2]"], "2 columns"),
        ("x.csv", ["a,b,c"], r"3 columns \(a,b,c\); expected user,item,rating,timestamp"),
        ("x.csv", ["u1,i1,5.0,1019865600"], r"found u1,i1,5\.0,1019865600; expected an asin"),
        ("x.csv", ["0000000001,0000000002,5.0,1019865600"], "of one of the first two columns, and of one only"),
        ("x.csv", ["", " ", ""], "blank lines"),
    ],
)
def test_another_file_than_reviews_is_named_as_such(tmp_path, name, lines, message):
    with pytest.raises(DataError, match=message):
        run(write(tmp_path / name, lines), tmp_path)


def test_no_file_and_an_empty_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        run(tmp_path / "reviews_Books_5.json", tmp_path)
    (tmp_path / "reviews_Books_5.json").write_text("")
    with pytest.raises(DataError, match="an empty file"):
        run(tmp_path / "reviews_Books_5.json", tmp_path)


def test_a_cut_off_gzip_file(tmp_path):
    lines = [review(f"A{n}", BOOKS[n % 3], reviewText="word " * n) for n in range(3000)]
    path = write(tmp_path / "reviews_Books_5.json.gz", lines)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"reviews_Books_5\.json\.gz.*(damaged|cut-off)"):
        run(path, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_asked_for_its_one_file_of_reviews(tmp_path):
    folder = tmp_path / "raw"
    (folder / "categoryFilesSmall").mkdir(parents=True)
    with pytest.raises(DataError, match="no file of Amazon book reviews"):
        run(folder, tmp_path)
    write(folder / "categoryFilesSmall" / "Books.csv", ["0000000001,AH2L9G3DQHHAJ,4.0,1019865600"])
    data, _, _ = run(folder, tmp_path)
    assert set(pairs(data)) == {("AH2L9G3DQHHAJ", "0000000001")}
    write(folder / "reviews_Books.json", [review("A1", BOOKS[0])])
    with pytest.raises(DataError, match=r"more than one file .*\(reviews_Books\.json, categoryFilesSmall/Books\.csv\)"):
        run(folder, tmp_path, overwrite=True)


def test_a_release_of_other_data_is_refused(tmp_path, kgat):
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", "9999999999")])
    with pytest.raises(DataError, match=r"no interaction with the 2 items of .*item_list\.txt \(such as '0000000001'\)"):
        run(path, tmp_path, kgat=kgat)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("item_list.txt", None, r"no item_list\.txt"),
        ("user_list.txt", None, r"no user_list\.txt.*--follow items"),
        ("kg_final.txt", None, r"no kg_final\.txt"),
        ("train.txt", "0 7\n", r"train\.txt line 1: found '0 7'; expected row numbers: a user below 2, then items below 2"),
        ("train.txt", "0 1\n2 0\n", r"train\.txt line 2"),
        ("train.txt", "zero 1\n", r"train\.txt line 1"),
    ],
)
def test_a_damaged_release_is_named(tmp_path, kgat, name, text, message):
    write(kgat / "train.txt", ["0 0"])
    write(kgat / "test.txt", ["1 1"])
    (kgat / name).unlink() if text is None else (kgat / name).write_text(text)
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", BOOKS[0])])
    with pytest.raises(DataError, match=message):
        run(path, tmp_path, kgat=kgat, follow="pairs")


def test_nothing_to_follow(tmp_path):
    path = write(tmp_path / "reviews_Books_5.json", [review("A1", BOOKS[0])])
    with pytest.raises(ConfigError, match="'users' without a release to follow"):
        run(path, tmp_path, follow="users")


def test_windows_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "reviews_Books_5.json"
    path.write_text("\r\n".join([review("A1", BOOKS[0]), review("A2", BOOKS[0]), ""]), newline="")
    data, _, _ = run(path, tmp_path)
    assert set(pairs(data)) == {("A1", BOOKS[0]), ("A2", BOOKS[0])}
