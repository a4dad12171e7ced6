"""Import of the scenario files that the MetaKG release publishes, and a validation split drawn from their training part.

A folder `test_scenario` holds `{meta_training,warm_up,user_cold,item_cold,user_item_cold}_{support,query}.txt`; a line is
`user item item ...` by the row numbers of KGAT's `user_list.txt` and `item_list.txt`. Where these lists lie beside the files,
rows are mapped through their ids, so the data set may number its rows in any way; without them the numbers are its rows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

import numpy as np

from metakg import files, rng
from metakg.data import Dataset, IdMap, Interactions, Scenario, Split, Tasks
from metakg.data.ids import place_by_id
from metakg.data.siblings import sibling_groups
from metakg.errors import DataError
from metakg.splits import order, paper
from metakg.splits.config import PublishedConfig
from metakg.types import Json, Mask, Rows

FILES = {
    "meta_training": "meta_training",
    "user_cold": "user_cold",
    "item_cold": "item_cold",
    "user_item_cold": "user_item_cold",
    "warm": "warm_up",
}
"""Our name of each scenario -> the name in the published files."""
Tables: TypeAlias = dict[str, tuple[Interactions, Interactions]]
"""Support and query of each scenario."""
_FIX = "Fetch the files again, or correct the line."
_NOT_A_NUMBER = re.compile(rb"[^0-9\s]")


def split_as_published(dataset: Dataset, config: PublishedConfig) -> Split:
    """Read published scenario files onto a data set prepared from the same release.

    Raises:
        DataError: a file is missing or malformed, or belongs to other data.
    """
    folder = _find(config.published)
    users = _row_map(folder, "user_list.txt", dataset.vocabulary.users)
    items = _row_map(folder, "item_list.txt", dataset.vocabulary.items)
    tables: Tables = {
        name: (
            _read(folder / f"{file}_support.txt", users, items),
            _read(folder / f"{file}_query.txt", users, items),
        )
        for name, file in FILES.items()
    }
    for name, (support, query) in tables.items():
        _check_scenario(folder / f"{FILES[name]}_query.txt", support, query, dataset)
    support, query = tables.pop("meta_training")
    training = Interactions.concat(support, query)
    _check_new(folder, tables, training, dataset)
    tasks = Tasks(np.unique(query.users), support, query)
    manifest = {
        "options": _options(config),
        "files": {path.name: files.sha256(path) for path in sorted(_paths(folder))},
    }
    scenarios = {
        name: Scenario(name, support, query, np.empty(0, np.int32), manifest={"rule": "as published"})
        for name, (support, query) in tables.items()
    }
    validation = _validation_by_lot(dataset, tasks, config) if config.validation else None
    parts = paper.Parts(training, tasks, paper.with_candidates(scenarios, training), {})
    return paper.assemble(dataset, parts, manifest, validation)


def _validation_by_lot(dataset: Dataset, tasks: Tasks, config: PublishedConfig) -> Split:
    """Cut a validation split from the training tasks by the paper's rule; the files have no times, so by lot.

    New items are drawn as whole groups of siblings. Users are drawn one by one.
    """
    v, seed = dataset.vocabulary, config.seed
    pairs = order.shuffled(Interactions.concat(tasks.support, tasks.query), dataset, seed)
    in_training = np.bincount(pairs.users, minlength=v.n_users) > 0
    new_users = order.draw(in_training, v.users, config.validation_users, seed, "validation users")
    # A share of the training users, as new_users is, but from those who are left.
    share = min(1.0, config.validation_warm_users / (1 - config.validation_users))
    warm = order.draw(in_training & ~new_users, v.users, share, seed, "validation warm users")
    occurs = np.bincount(pairs.items, minlength=v.n_items) > 0
    new_items = _draw_siblings(dataset, occurs, config)
    corners = paper.Corners(new_users, new_items, warm)
    parts = paper.cut(dataset, pairs, corners, config, relax=True, given=tasks)
    drawn = {"users": int(new_users.sum()), "warm_users": int(warm.sum()), "items": int((new_items & occurs).sum())}
    manifest = {"options": _options(config), "cut_from": "the training tasks, by lot", "drawn": drawn}
    return paper.assemble(dataset, parts, manifest)


def _draw_siblings(dataset: Dataset, occurs: Mask, config: PublishedConfig) -> Mask:
    """Return the items of groups drawn by lot until their share of the occurring items is reached: (I,)."""
    groups = sibling_groups(dataset.vocabulary, dataset.graph, config.sibling_limit)
    place = place_by_id(dataset.vocabulary.items)
    sizes = np.bincount(groups[occurs], minlength=groups.max(initial=-1) + 1)
    first = np.full(len(sizes), len(place), np.int32)  # a group is known by the first of its items, whatever its number
    np.minimum.at(first, groups, place)
    by_id = np.argsort(first, kind="stable")
    by_id = by_id[sizes[by_id] > 0]
    drawn = by_id[rng.generator(config.seed, "split/validation items").permutation(len(by_id))]
    total = np.cumsum(sizes[drawn])
    enough = int(np.searchsorted(total, config.validation_items * sizes.sum())) + 1
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[drawn[:enough]] = True
    return chosen[groups]


def _options(config: PublishedConfig) -> Json:
    """Return the settings for the manifest; the files are named by their hashes there, not by where they lay."""
    return config.model_dump(mode="json", exclude={"published"})


def _find(folder: Path) -> Path:
    for candidate in (folder, folder / "test_scenario"):
        if (candidate / "meta_training_support.txt").is_file():
            return candidate
    raise DataError(
        str(folder),
        "no meta_training_support.txt",
        expected="the folder test_scenario of the MetaKG release, or the folder it lies in",
        fix="Check the path.",
    )


def _paths(folder: Path) -> list[Path]:
    return [folder / f"{file}_{part}.txt" for file in FILES.values() for part in ("support", "query")]


def _read(path: Path, users: Rows, items: Rows) -> Interactions:
    """Read one file of lines `user item item ...` and map its numbers to rows of the data set."""
    text = _bytes(path)
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    words = [line.split() for line in lines]
    sizes = np.array([len(line) for line in words], np.int64)
    if not len(words):
        raise DataError(str(path), "an empty file", expected="lines `user item item ...`", fix=_FIX)
    if (sizes < 2).any() or _NOT_A_NUMBER.search(text):
        raise _malformed(path, lines)
    try:
        numbers = np.concatenate([np.array(line, np.int64) for line in words])
    except (ValueError, OverflowError) as err:
        raise _malformed(path, lines) from err
    starts = np.cumsum(sizes) - sizes
    is_user = np.zeros(len(numbers), np.bool_)
    is_user[starts] = True
    line_of = np.repeat(np.arange(len(lines)), sizes)
    who, what, at = numbers[starts], numbers[~is_user], line_of[~is_user]
    _check_lines(path, who, what, at, users, items)
    return Interactions(users[np.repeat(who, sizes - 1)], items[what])


def _check_lines(path: Path, who: np.ndarray, what: np.ndarray, at: np.ndarray, users: Rows, items: Rows) -> None:
    """Check the numbers of a file: users once, items once a line, all of them known. `at` is the line of each item."""
    for kind, numbers, places, rows in (("user", who, np.arange(len(who)), users), ("item", what, at, items)):
        known = numbers < len(rows)
        known[known] = rows[numbers[known]] >= 0
        unknown = np.flatnonzero(~known)
        if len(unknown):
            raise DataError(
                f"{path} line {places[unknown[0]] + 1}",
                f"{kind} {numbers[unknown[0]]}",
                expected=f"{kind}s 0..{len(rows) - 1}, all of them in the data set",
                fix="The files belong to other data; prepare the data set from the same release.",
            )
    for kind, keys, places in (("user", who, np.arange(len(who))), ("item", at * np.int64(len(items)) + what, at)):
        _, first = np.unique(keys, return_index=True)
        again = np.setdiff1d(np.arange(len(keys)), first)
        if len(again):
            number = (who if kind == "user" else what)[again[0]]
            once = "each user on one line" if kind == "user" else "each item once a line"
            raise DataError(f"{path} line {places[again[0]] + 1}", f"{kind} {number} again", expected=once, fix=_FIX)


def _malformed(path: Path, lines: list[bytes]) -> DataError:
    """Return the error that names the first line which is not `user item item ...`."""
    for number, line in enumerate(lines, 1):
        words = line.split()
        odd = [word for word in words if not word.isdigit() or len(word) > 10]
        if odd or len(words) < 2:
            found = repr(odd[0].decode(errors="replace")) if odd else f"{len(words)} numbers"
            expected = "a user's number and at least one item's"
            return DataError(f"{path} line {number}", found, expected=expected, fix=_FIX)
    return DataError(str(path), "an unreadable line", expected="lines `user item item ...`", fix=_FIX)


def _check_scenario(path: Path, support: Interactions, query: Interactions, dataset: Dataset) -> None:
    """Check that the two files of a scenario name the same users, and no pair in both."""
    v = dataset.vocabulary
    odd = np.setxor1d(support.users, query.users)
    if len(odd):
        raise DataError(
            str(path),
            f"{len(odd)} users in one of support and query only, first {v.users.id(odd[0])!r}",
            expected="the same users as in the support file",
            fix="The two files belong to different releases; fetch both again.",
        )
    both = np.intersect1d(support.keys(v.n_items), query.keys(v.n_items))
    if len(both):
        user, item = v.users.id(both[0] // v.n_items), v.items.id(both[0] % v.n_items)
        raise DataError(
            str(path),
            f"{len(both)} pairs of the support file, first user {user!r} with item {item!r}",
            expected="query pairs that the support does not show",
            fix=_FIX,
        )


def _check_new(folder: Path, tables: Tables, training: Interactions, dataset: Dataset) -> None:
    """Check that what a scenario calls new does not occur in meta_training."""
    v = dataset.vocabulary
    for name, new_user, new_item in (("user_cold", 1, 0), ("item_cold", 0, 1), ("user_item_cold", 1, 1)):
        for kind, check, column, ids in (("user", new_user, "users", v.users), ("item", new_item, "items", v.items)):
            seen = np.concatenate([getattr(part, column) for part in tables[name]])
            known = np.intersect1d(seen, getattr(training, column))
            if check and len(known):
                raise DataError(
                    str(folder / f"{FILES[name]}_support.txt"),
                    f"{len(known)} {kind}s that occur in meta_training, first {ids.id(known[0])!r}",
                    expected=f"new {kind}s only",
                    fix="The files belong to different releases; fetch them again.",
                )


def _row_map(folder: Path, name: str, ids: IdMap) -> Rows:
    """Return number in the files -> row of the data set, -1 where the data set lacks it."""
    path = next((place / name for place in (folder, folder.parent) if (place / name).is_file()), None)
    if path is None:
        return np.arange(len(ids), dtype=np.int32)
    lines = [line.split() for line in _bytes(path).decode("utf-8", errors="replace").splitlines()]
    header = lines.pop(0) if lines and "remap_id" in lines[0] else ["org_id", "remap_id"]
    at = header.index("remap_id")
    numbers = [line[at] if len(line) > at else "" for line in lines if line]
    numbered = {number for number in numbers if number.isdigit() and len(number) <= 9}
    if not lines or len(numbered) < len(numbers):
        odd = next((number for number in numbers if number not in numbered), "a remap_id twice, or no line")
        expected = f"lines `{' '.join(header)}`, each remap_id a number that occurs once"
        raise DataError(str(path), repr(odd), expected=expected, fix=_FIX)
    remap = np.array(numbers, np.int64)
    best = np.full(remap.max() + 1, -1, np.int32)
    for column in range(len(header)):  # item_list.txt has two: the shop's id and the graph's
        if column != at:
            rows = np.full(len(best), -1, np.int32)
            rows[remap] = ids.rows([line[column] if len(line) > column else None for line in lines if line])
            best = rows if (rows >= 0).sum() > (best >= 0).sum() else best
    if not (best >= 0).any():
        raise DataError(
            str(path),
            f"none of its ids (first {lines[0][:1]}) among the data set's {ids.kind}s (first {ids.id(0)!r})"
            if len(ids)
            else f"{len(lines)} {ids.kind}s, but none in the data set",
            expected="the list that the data set was prepared with",
            fix="Prepare the data set from the same release.",
        )
    return best


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as err:
        raise DataError(str(path), err.strerror or str(err), expected="a readable file of the release", fix=_FIX) from err
