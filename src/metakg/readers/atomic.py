"""RecBole atomic files: tab-separated, with a typed header (`user_id:token rating:float`), read by header.

    NAME.inter    user_id, item_id[, rating][, timestamp]
    NAME.kg       head_id, relation_id, tail_id
    NAME.link     item_id, entity_id
    NAME.item     item_id and attributes; the title is the item's label
    NAME.user     user_id and attributes

The attributes become facts only if the option `attributes` names them ("all", or their names): published results for these
files use the graph alone. A label file beside them (labels.tsv, entity_names.tsv) is read too.
"""

from __future__ import annotations

from pathlib import Path

from metakg.errors import DataError
from metakg.readers.attributes import stage_item_attributes, stage_user_attributes
from metakg.readers.options import ReadOptions
from metakg.readers.staging import Stage
from metakg.readers.tables import stage_interactions, stage_labels, stage_links, stage_triples

SUFFIXES = {
    ".inter": stage_interactions,
    ".kg": stage_triples,
    ".link": stage_links,
    ".item": stage_item_attributes,
    ".user": stage_user_attributes,
}
_PACKED = (".gz", ".zst")
LABELS = ("labels.tsv", "entity_names.tsv", "labels.csv", "entity_names.csv")


def suffix(path: Path) -> str:
    """Return the last suffix of a file name before `.gz` or `.zst`, in small letters."""
    name = path.name.casefold()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def _stem(path: Path) -> str:
    return path.name[: path.name.casefold().rindex(suffix(path))]


def looks_atomic(folder: Path) -> bool:
    """Return whether a folder holds atomic files."""
    return any(suffix(path) == ".inter" for path in folder.iterdir())


def stage_atomic(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage the atomic files of a folder, or those that have the same name as the one `.inter` file that is given.

    Raises:
        DataError: there is no `.inter` file, or more than one.
    """
    folder = path if path.is_dir() else path.parent
    found = [file for file in sorted(folder.iterdir()) if suffix(file) in SUFFIXES and file.is_file()]
    names = {_stem(file) for file in found if suffix(file) == ".inter"} if path.is_dir() else {_stem(path)}
    if len(names) != 1:
        raise DataError(
            str(folder),
            f"the .inter files of {', '.join(sorted(names))}" if names else "no .inter file",
            expected="the files of one data set",
            fix="Name its .inter file." if names else "Check the folder.",
        )
    name = names.pop()
    for file in found:
        if _stem(file) == name:
            SUFFIXES[suffix(file)](stage, file, options)
    for label in LABELS:
        if (folder / label).is_file():
            stage_labels(stage, folder / label, options)
