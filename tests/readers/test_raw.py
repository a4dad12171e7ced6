"""The raw sources through the public functions, and under damage."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metakg.errors import ConfigError, DataError, MetakgError
from metakg.readers.api import prepare, read

AMAZON = [
    json.dumps({"reviewerID": f"A{user}", "asin": f"{book:010}", "overall": 4.0, "unixReviewTime": 86_400 * (user + book + 1)})
    for user in range(10)
    for book in range(10)
]
LFM = [f"{user}\t1\t2\t{track}\t{1_300_000_000 + user}" for user in range(10) for track in range(10)]
YELP = [
    json.dumps({"user_id": f"u{user}", "business_id": f"b{shop}", "stars": 4.0, "date": "2018-07-07 22:09:11"})
    for user in range(10)
    for shop in range(10)
]
BUSINESSES = [
    json.dumps({"business_id": f"b{shop}", "name": "N", "city": "Mesa", "state": "AZ", "categories": "Thai"})
    for shop in range(60)
]


def write(path, lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def release(folder, items, users):
    """A KGAT release of these items and users in which every pair is a training pair."""
    write(folder / "item_list.txt", ["org_id remap_id freebase_id", *(f"{item} {n} m.{n}" for n, item in enumerate(items))])
    write(folder / "user_list.txt", ["org_id remap_id", *(f"{user} {n}" for n, user in enumerate(users))])
    write(folder / "entity_list.txt", ["org_id remap_id", *(f"m.{n} {n}" for n in range(len(items))), f"m.x {len(items)}"])
    write(folder / "relation_list.txt", ["org_id remap_id", "about 0"])
    write(folder / "kg_final.txt", [f"{n} 0 {len(items)}" for n in range(len(items))])
    write(folder / "train.txt", [" ".join(map(str, (user, *range(len(items))))) for user in range(len(users))])
    write(folder / "test.txt", ["0 0"])
    return folder


@pytest.mark.parametrize("form", ["amazon", "lfm1b", "yelp"])
def test_the_papers_data_in_one_call(tmp_path, form):
    name, lines, items, users = {
        "amazon": ("reviews_Books_5.json", AMAZON, [f"{n:010}" for n in range(10)], [f"A{n}" for n in range(10)]),
        "lfm1b": ("LFM-1b_LEs.txt", LFM, [str(n) for n in range(10)], [str(n) for n in range(10)]),
        "yelp": ("yelp_academic_dataset_review.json", YELP, [f"b{n}" for n in range(10)], [f"u{n}" for n in range(10)]),
    }[form]
    write(tmp_path / "raw" / name, lines)
    data = read(tmp_path / "raw", kgat=release(tmp_path / "kgat", items, users), paper=True)
    assert (data.vocabulary.n_users, data.vocabulary.n_items, len(data.interactions)) == (10, 10, 100)
    assert data.interactions.times_s is not None
    assert len(data.graph.entity) == 10
    with pytest.raises(DataError, match="none left of 1"):  # the paper's 10-core
        read(tmp_path / "raw", kgat=release(tmp_path / "kgat", items[:9], users), paper=True)


def test_the_paper_needs_raw_files_and_a_release(tmp_path):
    write(tmp_path / "raw" / "reviews_Books_5.json", AMAZON)
    with pytest.raises(ConfigError, match=r"no KGAT release.*--kgat"):
        read(tmp_path / "raw", paper=True)
    write(tmp_path / "clicks.csv", ["user,item", "u,i"])
    with pytest.raises(ConfigError, match="option paper"):
        read(tmp_path / "clicks.csv", paper=True)


@pytest.mark.parametrize("option", [{"kgat": "somewhere"}, {"follow": "users"}, {"network": "kgat"}, {"user_facts": True}])
def test_options_of_raw_files_are_not_silently_ignored_elsewhere(tmp_path, option):
    clicks = write(tmp_path / "clicks.csv", ["user,item", "u,i"])
    for files in ({"path": clicks}, {"interactions": clicks}):
        with pytest.raises(ConfigError, match=f"option {next(iter(option))}.*which alone know it"):
            read(**files, **option)


@pytest.mark.parametrize(
    ("name", "lines", "option"),
    [
        ("reviews_Books_5.json", AMAZON, {"user_facts": True}),
        ("reviews_Books_5.json", AMAZON, {"network": "kgat"}),
        ("LFM-1b_LEs.txt", LFM, {"network": "kgat"}),
    ],
)
def test_an_option_that_a_raw_source_does_not_know_is_refused(tmp_path, name, lines, option):
    with pytest.raises(ConfigError, match=f"option {next(iter(option))}.*no effect"):
        read(write(tmp_path / "raw" / name, lines), **option)


def test_a_table_called_books_is_read_by_its_columns(tmp_path):
    write(tmp_path / "shop" / "books.csv", ["item,title,genre", "i1,One,crime", "i2,Two,crime"])
    write(tmp_path / "shop" / "ratings.csv", ["user,item,rating", "u1,i1,5", "u1,i2,4"])
    data = read(tmp_path / "shop")
    assert data.vocabulary.items.label(data.vocabulary.items.row("i1")) == "One"


# Damage: whatever a file holds, the answer is a data set in which every row is accounted for, or an error of ours


def damage(draw, text: bytes) -> bytes:
    """Cut, flip, insert or repeat bytes of a file, a few times."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        what = draw(st.sampled_from(["cut", "flip", "junk", "line", "repeat", "nothing"]))
        if what == "cut":
            text = text[:at]
        elif what == "flip" and text:
            at = min(at, len(text) - 1)
            text = text[:at] + bytes([draw(st.integers(0, 255))]) + text[at + 1 :]
        elif what == "junk":
            text = text[:at] + draw(st.binary(max_size=12)) + text[at:]
        elif what == "line":
            text = text[:at] + b"\n" + draw(st.text(max_size=12)).encode("utf-8", "surrogatepass") + b"\n" + text[at:]
        elif what == "repeat":
            text = text[:at] + text[max(0, at - 200) : at] + text[at:]
    return text


@st.composite
def damaged(draw, lines):
    return damage(draw, ("\n".join(lines[::7]) + "\n").encode())


def survives(files: dict[str, bytes]):
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        for file, text in files.items():
            (folder / "raw" / file).write_bytes(text)
        try:
            report = prepare(folder / "raw", out=folder / "out", threads=1)
        except MetakgError:
            assert not (folder / "out").exists()
            return
        for tally in report.tallies:
            assert tally.read == tally.kept + tally.lost
        assert not [path for path in folder.iterdir() if path.name not in ("raw", "out")]


FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(damaged(AMAZON))
def test_damaged_amazon_reviews(text):
    survives({"reviews_Books_5.json": text})


@FUZZ
@given(damaged(["AH2L9G3DQHHAJ,0000000001,4.0,1019865600", "A2IIIDRK3PRRZY,000000000X,1.0,1395619200"] * 9))
def test_damaged_amazon_ratings(text):
    survives({"ratings_Books.csv": text})


@FUZZ
@given(damaged(LFM))
def test_damaged_lfm_events(text):
    survives({"LFM-1b_LEs.txt": text})


@FUZZ
@given(damaged(YELP), damaged(BUSINESSES))
def test_damaged_yelp_files(reviews, businesses):
    survives({"yelp_academic_dataset_review.json": reviews, "yelp_academic_dataset_business.json": businesses})
