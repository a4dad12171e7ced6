"""Amazon book reviews, as a person downloads them, joined with KGAT's Amazon-book graph.

Editions that are told apart by their first line, plain or gzipped:

    reviews_Books_5.json.gz, reviews_Books.json.gz (2014)    JSON lines: reviewerID, asin, overall, unixReviewTime, reviewTime
    Books_5.json.gz, Books.json.gz (2018)                    the same keys
    Books.jsonl.gz (2023)                                    JSON lines: user_id, parent_asin, rating, timestamp (milliseconds)
    ratings_Books.csv (2014)                                 user,item,rating,timestamp without a header
    Books.csv (2018)                                         item,user,rating,timestamp without a header
    Books.csv.gz (2023)                                      user_id,parent_asin,rating,timestamp with a header

A review is an interaction, its stars are the value, and `unixReviewTime` is its time (midnight UTC of its day; where it is
absent, the day in `reviewTime`, "03 11, 2013"). With `kgat`, the items are the books of `item_list.txt` (its `org_id` is the
asin) and the facts are those of `kg_final.txt`. Titles come from `meta_Books.json.gz`, if it lies beside the reviews.

Source: He and McAuley, WWW 2016; Ni, Li and McAuley, EMNLP 2019; Hou et al., arXiv:2403.03952.

Differs from what KGAT and MetaKG did:

- KGAT took the 2014 reviews, linked books to Freebase by title (Zhao et al., KB4Rec), and cut to the 10-core. Its linking is
  taken from its release; the 10-core is computed afresh (`k_core=10`), over the books of the release.
- MetaKG took the pairs from KGAT's train.txt and test.txt and looked up times in reviews_Books_5.json.gz; the first time of a
  user or a book is over all its reviews there. Here pairs and times come from the same reviews, so a first time is over the
  pairs that are kept; `follow="pairs"` keeps KGAT's own pairs.
- Both treat every review as liking, whatever its stars. So do we, unless `min_value` says otherwise.
"""

from __future__ import annotations

import ast
import csv
import html
import re
from collections.abc import Iterator
from pathlib import Path

from metakg.errors import DataError
from metakg.readers import raw
from metakg.readers.options import ReadOptions
from metakg.readers.scan import Scan, literal, open_text, scan_csv, scan_json_lines
from metakg.readers.staging import Stage

_REVIEWS = (
    "reviews_Books_5.json",
    "reviews_Books.json",
    "Books_5.json",
    "Books.json",
    "Books.jsonl",
    "ratings_Books.csv",
    "Books.csv",
    "categoryFilesSmall/Books_5.json",
    "categoryFiles/Books.json",
    "categoryFilesSmall/Books.csv",
)
_TITLES = ("meta_Books.json", "meta_Books.jsonl", "metaFiles2/meta_Books.json", "../metaFiles2/meta_Books.json")
_ASIN = re.compile(r"[0-9A-Z]{10}")
_ASIN_KEY = re.compile(r"""["'](?:parent_)?asin["']\s*:\s*["']([^"']+)["']""")
_JSON_KEYS: tuple[tuple[str, ...], ...] = (
    # user, item, stars, time as a number, time in words
    ("reviewerID", "asin", "overall", "unixReviewTime", "reviewTime"),
    ("user_id", "parent_asin", "rating", "timestamp"),
    ("user_id", "asin", "rating", "timestamp"),
)


def paper_options(kgat: Path) -> dict[str, object]:
    """Return the options that give the paper's Amazon-book from reviews_Books_5.json.gz and KGAT's release folder."""
    return {"kgat": kgat, "follow": "users", "k_core": 10}


def stage_amazon(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage Amazon book reviews: one file, or the folder that holds one.

    Raises:
        DataError: this is no file of reviews, or none of the books of the release is in it.
    """
    raw.refuse_options(options, "Amazon reviews", "user_facts", "network")
    path = raw.one_of(path, _REVIEWS, "Amazon book reviews") if path.is_dir() else path
    json_lines = raw.first_lines(path, 1)[0].lstrip().startswith("{")
    scan, columns = _open_json(path) if json_lines else _open_csv(path)
    release = raw.open_release(stage, options)
    skip = release.skip("user", "item") if release else "NULL::VARCHAR"
    select = f"SELECT *, {skip} AS skip FROM (SELECT {columns} FROM {scan.sql})"
    reviews = raw.once(stage, "amazon_reviews", select, path)
    stage.note("amazon-book", [path], raw.join_release(stage, release, raw.kept("item", reviews), path))
    stage.add("interactions", f"SELECT * FROM {reviews}", scan=scan)
    titles = raw.sibling(path, _TITLES)
    if titles:
        _stage_titles(stage, titles, reviews)


def _open_json(path: Path) -> tuple[Scan, str]:
    """Return the scan of a JSON lines file, and its columns as SQL."""
    which = raw.check_keys(path, "a review", *(keys[:2] for keys in _JSON_KEYS))
    user, item, stars, time, *day = _JSON_KEYS[which]
    scan = scan_json_lines(path, _JSON_KEYS[which])
    moment = time
    if day:
        moment = f"coalesce({time}, CAST(CAST(epoch(try_strptime({day[0]}, '%m %d, %Y')) AS BIGINT) AS VARCHAR))"
    absent = " AND ".join(f"{key} IS NULL" for key in (user, item, stars, time))
    problem = f"CASE WHEN {absent} THEN 'a line that is no review in JSON' END"
    return scan, f"{user} AS user, {item} AS item, {stars} AS value, {moment} AS time, {problem} AS problem"


def _open_csv(path: Path) -> tuple[Scan, str]:
    """Return the scan of a file of ratings, and its columns as SQL."""
    sample = list(csv.reader(raw.first_lines(path, 1000)))
    first = sample[0]
    header = {"user_id", "rating", "timestamp"} <= set(first) and bool({"parent_asin", "asin"} & set(first))
    if header:
        item = "parent_asin" if "parent_asin" in first else "asin"
        names = [{"user_id": "user", item: "item", "rating": "value", "timestamp": "time"}.get(name, name) for name in first]
    elif all(len(cells) == 4 for cells in sample):
        names = [*_user_and_item(path, sample), "value", "time"]
    else:
        raise DataError(
            f"{path} line 1",
            f"{len(first)} columns ({','.join(first)[:60]})",
            expected="user,item,rating,timestamp or item,user,rating,timestamp",
            fix="Name the file of ratings (ratings_Books.csv or Books.csv); for a table of another shape use --format table.",
        )
    scan = scan_csv(path, names, header=header)
    return scan, "user, item, value, time, NULL::VARCHAR AS problem"


def _user_and_item(path: Path, sample: list[list[str]]) -> tuple[str, str]:
    """Return the names of the first two columns: the asin, always ten letters, stands second in 2014 and first in 2018."""
    first, second = (all(_ASIN.fullmatch(cells[column].strip()) for cells in sample) for column in (0, 1))
    if first == second:
        raise DataError(
            f"{path} line 1",
            ",".join(sample[0]),
            expected="an asin (ten letters and digits) in every row of one of the first two columns, and of one only",
            fix="Check the file; for a table of another shape use --format table.",
        )
    return ("item", "user") if first else ("user", "item")


def _stage_titles(stage: Stage, path: Path, reviews: str) -> None:
    """Stage the titles of the books that are reviewed."""
    wanted = {row[0] for row in stage.connection.execute(raw.kept("item", reviews)).fetchall()}
    left_out = {"a title of a book without a review": 0, "a book without a title": 0}
    columns = {"id": "VARCHAR", "label": "VARCHAR", "problem": "VARCHAR", "line": "BIGINT"}
    table = raw.fill(stage, "amazon_titles", columns, _titles(path, wanted, left_out))
    for reason, count in left_out.items():
        stage.count("labels", "skipped", reason, count)
    stage.note("amazon-titles", [path])
    if raw.number(stage, f"SELECT count(*) FROM {table}"):
        file = literal(str(path))
        stage.add("labels", f"SELECT 'item' AS kind, id, label, problem, {file} AS file, line FROM {table}")


def _titles(path: Path, wanted: set[str], left_out: dict[str, int]) -> Iterator[tuple[str | None, str | None, str | None, int]]:
    """Yield (asin, title, problem, line) of each line that is wanted or broken; count the others in `left_out`.

    The 2014 edition writes Python literals, later ones JSON. Most of its 2.4 million books are of no interest here, so the
    asin is looked for before a line is taken apart.
    """
    unread, untitled = left_out
    with open_text(path) as handle:
        for line, text in enumerate(handle, start=1):
            found = _ASIN_KEY.search(text)
            if found and found.group(1) not in wanted:
                left_out[unread] += 1
            elif text.strip():
                book = (raw.object_of(text) or raw.object_of(text, parse=ast.literal_eval)) if found else None
                if book is None:
                    yield None, None, "a line that is no book in JSON or as a Python literal", line
                elif not book.get("title"):
                    left_out[untitled] += 1
                else:
                    title = " ".join(html.unescape(str(book["title"])).split())
                    yield str(book.get("parent_asin") or book.get("asin")), title, None, line
