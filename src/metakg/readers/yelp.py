"""The Yelp Open Dataset: reviews as interactions, and businesses as a graph.

    yelp_academic_dataset_review.json      JSON lines: user_id, business_id, stars, date
    yelp_academic_dataset_business.json    JSON lines: business_id, name, city, state, categories, attributes, ...
    yelp_academic_dataset_user.json        JSON lines: user_id, yelping_since, ...              only for facts about users

A review is an interaction, its stars are the value and its `date` is the time (old editions: the day alone; taken as UTC).
Names come from the file of businesses. The graph is one of two:

- with `kgat`: KGAT's yelp2018 release (`kg_final.txt`, joined by business_id);
- else the local business network, made here from the file of businesses. `network="plain"` is for use: city (with its state),
  state, categories, and attributes that hold, each part of a compound one by itself (`attributes::Ambience::casual`).
  `network="kgat"` is what KGAT's release holds: the same ids (`city::Mesa`, `stars::3.5`, a compound attribute as one value,
  False as a value), facts of businesses outside the data too, and only entities with 10 facts and relations with 50 or more.

The plain network leaves out `stars`, `review_count` and `is_open`: they sum up all reviews, and those that a scenario asks for
are among them. KGAT's has `stars`.

`user_facts` adds the year since which a user has been yelping. Counts, averages, friends, fans and elite years are left out for
the same reason.

Source: Yelp Open Dataset, https://business.yelp.com/data/resources/open-dataset/.

Differs from what KGAT and MetaKG did:

- Both used the 2018 edition. Later editions hold other businesses and users; how many of the release's businesses were found is
  written into the manifest.
- MetaKG sorts users by `yelping_since` and businesses by their first review of any user. Here both are sorted by the first
  interaction that is kept, so that one rule serves every data set.
- MetaKG took the pairs from KGAT's train.txt and test.txt; here they are the reviews by the release's users of its businesses
  (`follow="users"`), or just those pairs (`follow="pairs"`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from metakg.errors import ConfigError, DataError
from metakg.readers import raw
from metakg.readers.options import ReadOptions
from metakg.readers.scan import literal, scan_json_lines
from metakg.readers.staging import Stage

_REVIEWS = ("yelp_academic_dataset_review.json", "review.json")
_BUSINESSES = ("yelp_academic_dataset_business.json", "business.json")
_USERS = ("yelp_academic_dataset_user.json", "user.json")
_ABSENT = {"no", "none"}
_FEWEST_FACTS_OF_ENTITY = 10
_FEWEST_FACTS_OF_RELATION = 50
"""KGAT, section 4.1: entities with fewer than ten facts and relations with fewer than fifty were dropped."""

Network = Literal["plain", "kgat"]
Fact = tuple[str, str, str]
"""Relation, entity id, name of the entity for people."""


def paper_options(kgat: Path | None) -> dict[str, object]:
    """Return the options that give the paper's Yelp2018 from the 2018 edition, with KGAT's release folder or without.

    Without it the graph is made by KGAT's rules, and the users and businesses are those of the 10-core.
    """
    return {"k_core": 10, **({"kgat": kgat, "follow": "users"} if kgat else {"network": "kgat"})}


def stage_yelp(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage Yelp reviews: the folder of the data set, or the file of reviews in it.

    Raises:
        DataError: this is no file of reviews, none of the businesses of the release is in it, or there is neither a release nor
            a file of businesses to make a graph of.
    """
    path = raw.one_of(path, _REVIEWS, "Yelp reviews") if path.is_dir() else path
    keys = ("user_id", "business_id", "stars", "date")
    raw.check_keys(path, "a review", keys)
    businesses = raw.sibling(path, _BUSINESSES)
    if options.kgat is None and businesses is None:
        raise DataError(
            str(path.parent),
            f"no {_BUSINESSES[0]}",
            expected="it beside the reviews, since the graph is made of it",
            fix="Put it there, or give KGAT's release of yelp2018 (--kgat DIR).",
        )
    if options.kgat is not None and options.network != "plain":
        raise ConfigError(
            "option network",
            f"{options.network!r} beside a KGAT release",
            expected="either the release's graph, or one made here",
            fix="Leave out --network, or --kgat.",
        )
    release = raw.open_release(stage, options)
    scan = scan_json_lines(path, keys)
    absent = " AND ".join(f"{key} IS NULL" for key in keys)
    columns = (
        "user_id AS user, business_id AS item, stars AS value, date AS time, "
        f"CASE WHEN {absent} THEN 'a line that is no review in JSON' END AS problem"
    )
    skip = release.skip("user", "item") if release else "NULL::VARCHAR"
    reviews = raw.once(stage, "yelp_reviews", f"SELECT *, {skip} AS skip FROM (SELECT {columns} FROM {scan.sql})", path)
    stage.note("yelp", [path], raw.join_release(stage, release, raw.kept("item", reviews), path))
    stage.add("interactions", f"SELECT * FROM {reviews}", scan=scan)
    if businesses is not None:
        _stage_businesses(stage, businesses, None if release else options.network)
    if options.user_facts:
        _stage_users(stage, path)


def _stage_businesses(stage: Stage, path: Path, network: Network | None) -> None:
    """Stage the names of businesses and, unless a release has the graph, the local business network."""
    raw.check_keys(path, "a business", ("business_id", "name"))
    columns = dict.fromkeys(("item", "relation", "entity", "label", "problem"), "VARCHAR") | {"line": "BIGINT"}
    table = raw.fill(stage, "yelp_businesses", columns, _businesses(path, network))
    stage.note("yelp-businesses", [path], {"network": network or "of the release"})
    at = f"{literal(str(path))} AS file, line"
    names = f"SELECT 'item' AS kind, item AS id, label, problem, {at} FROM {table} WHERE relation IS NULL"
    stage.add("labels", names)
    if network is None:
        return
    facts = f"{table} WHERE relation IS NOT NULL"
    if not raw.number(stage, f"SELECT count(*) FROM {facts}"):
        return
    if network == "plain":
        stage.add("item_triples", f"SELECT item, relation, entity, {at} FROM {facts}")
    else:
        skip = _infrequent(facts)
        stage.add("triples", f"SELECT item AS head, relation, entity AS tail, {skip} AS skip, {at} FROM {facts}")
    for kind, label in (("entity", "label"), ("relation", "regexp_extract(relation, '([^:]+)$', 1)")):
        at = f"{literal(str(path))} AS file, min(line) AS line"
        stage.add("labels", f"SELECT '{kind}' AS kind, {kind} AS id, min({label}) AS label, {at} FROM {facts} GROUP BY {kind}")


def _infrequent(facts: str) -> str:
    """Return SQL for why KGAT's release would lack a fact; the facts of reviewed businesses count as facts of items."""
    rare = f"SELECT entity FROM {facts} GROUP BY entity HAVING count(*) < {_FEWEST_FACTS_OF_ENTITY}"
    thin = f"SELECT item FROM {facts} GROUP BY item HAVING count(*) < {_FEWEST_FACTS_OF_ENTITY}"
    few = f"SELECT relation FROM {facts} GROUP BY relation HAVING count(*) < {_FEWEST_FACTS_OF_RELATION}"
    return (
        f"CASE WHEN relation IN ({few}) THEN 'a relation with fewer than {_FEWEST_FACTS_OF_RELATION} facts' "
        f"WHEN entity IN ({rare}) OR (item IN ({thin}) AND item NOT IN (SELECT item FROM yelp_reviews WHERE item IS NOT NULL)) "
        f"THEN 'an entity with fewer than {_FEWEST_FACTS_OF_ENTITY} facts' END"
    )


def _businesses(
    path: Path, network: Network | None
) -> Iterator[tuple[str | None, str | None, str | None, str | None, str | None, int]]:
    """Yield (business, relation, entity, label, problem, line): one row without a relation for the name, then one a fact."""
    facts_of = {None: lambda _: iter(()), "plain": _plain_facts, "kgat": _kgat_facts}[network]
    for line, business in raw.objects(path):
        if business is None:
            yield None, None, None, None, "a line that is no business in JSON", line
            continue
        key, name, city = (_text(business.get(field)) for field in ("business_id", "name", "city"))
        yield key, None, None, f"{name}, {city}" if name and city else name, None, line
        if key:
            for relation, entity, label in facts_of(business):
                yield key, relation, entity, label, None, line


def _plain_facts(business: dict[str, Any]) -> Iterator[Fact]:
    """Yield what holds of a business, one thing a fact."""
    city, state = _text(business.get("city")), _text(business.get("state"))
    if city:
        place = f"{city}, {state}" if state else city
        yield "city", f"city::{place}", place
    if state:
        yield "state", f"state::{state}", state
    for category in _categories(business):
        yield "categories", f"categories::{category}", category
    for name, value in _attributes(business):
        relation, words = f"attributes::{name}", _words(name)
        parts = [key for key, on in value.items() if on is True] if isinstance(value, dict) else [value]
        for part in parts:
            text = _text(part)
            if text and part is not False and text.lower() not in _ABSENT:
                yield relation, f"{relation}::{text}", words if part is True else f"{words}: {text}"


def _kgat_facts(business: dict[str, Any]) -> Iterator[Fact]:
    """Yield facts with the ids of KGAT's release, which writes `_` for the commas of a compound value."""
    for key in ("city", "state", "stars"):
        text = _text(business.get(key))
        if text:
            yield key, f"{key}::{text}", text
    for category in _categories(business) or ["None"]:
        yield "categories", f"categories::{category}", category
    for name, value in _attributes(business):
        text = str(value).replace(",", "_")
        yield f"attributes::{name}", f"attributes::{name}::{text}", f"{_words(name)}: {text}"


def _categories(business: dict[str, Any]) -> list[str]:
    """Return the categories: "Thai, Bars" in later editions, ["Thai", "Bars"] in earlier ones."""
    found = business.get("categories") or []
    texts = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
    return list(dict.fromkeys(text for text in map(_text, texts) if text))


def _attributes(business: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and values of attributes.

    Later editions write {"WiFi": "u'free'", "Ambience": "{'casual': True}"}, earlier ones real objects or a list of texts
    such as "WiFi: free".
    """
    found = business.get("attributes") or {}
    if isinstance(found, list):
        found = dict(text.split(": ", 1) for text in found if isinstance(text, str) and ": " in text)
    for name, value in found.items() if isinstance(found, dict) else ():
        yield name, _value(value)


def _value(value: object) -> object:
    """Return a value, read as the Python literal that it is written as."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def _text(value: object) -> str | None:
    """Return a value as text without stray white space, None if there is none."""
    return None if value is None else " ".join(str(value).split()) or None


def _words(name: str) -> str:
    """Return "GoodForKids" as "Good For Kids", and "RestaurantsPriceRange2" as "Price Range"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removeprefix("Restaurants").rstrip("0123456789")) or name


def _stage_users(stage: Stage, reviews: Path) -> None:
    """Stage since which year users have been yelping, for users with a review."""
    path = raw.sibling(reviews, _USERS)
    if path is None:
        raise DataError(
            str(reviews.parent),
            f"no {_USERS[0]}",
            expected="it beside the reviews, since facts about users are asked for",
            fix="Put it there, or leave user facts out.",
        )
    raw.check_keys(path, "a user", ("user_id", "yelping_since"))
    scan = scan_json_lines(path, ("user_id", "yelping_since"))
    problem = (
        "CASE WHEN user_id IS NULL AND yelping_since IS NULL THEN 'a line that is no user in JSON' "
        "WHEN NOT regexp_matches(yelping_since, '^[0-9]{4}-') THEN 'a bad date' END"
    )
    silent = f"CASE WHEN user_id NOT IN ({raw.kept('user', 'yelp_reviews')}) THEN 'a user without a review' END"
    select = (
        "SELECT user_id AS user, 'yelping_since' AS relation, 'yelping_since::' || left(yelping_since, 4) AS entity, "
        f"{problem} AS problem, {silent} AS skip FROM {scan.sql}"
    )
    table = raw.once(stage, "yelp_users", select, path)
    stage.note("yelp-users", [path])
    stage.add("user_triples", f"SELECT * FROM {table}", scan=scan)
