"""Finding the columns of a table by name: an option, or one of the names that people use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from metakg.errors import DataError
from metakg.readers.options import ReadOptions
from metakg.readers.scan import literal

_NAMES = {
    "user": """user userid uid reviewer reviewerid customer customerid member memberid visitor visitorid account accountid
        reader readerid listener listenerid""",
    "item": """item itemid iid product productid parentasin asin sku movie movieid film filmid book bookid isbn track trackid
        song songid artist artistid album albumid business businessid article articleid news newsid video videoid game gameid
        content contentid""",
    "value": "value rating ratings score stars overall weight count counts plays playcount",
    "time": """time times timestamp ts datetime date unixtime unixreviewtime eventtime createdat created clickedat at
        reviewtime""",
    "head": "head headid h subject subj s source sourceid",
    "relation": "relation relationid r rel predicate pred p property edge",
    "tail": "tail tailid t object obj o target targetid",
    "entity": "entity entityid node nodeid freebaseid freebase wikidata wikidataid qid uri iri",
    "id": "id",
    "kind": "kind",
    "label": "label title name labels names titles itemtitle itemname movietitle booktitle username",
}
_NAMES["named"] = " ".join(_NAMES[role] for role in ("id", "entity", "item", "user", "relation"))
ALIASES: Mapping[str, tuple[str, ...]] = {role: tuple(names.split()) for role, names in _NAMES.items()}
"""Column -> names that are taken for it, the most telling first; compared without case, blanks and punctuation.

"named" is whatever a label may name. `time_s` and other names with a unit match as well: a unit at the end is cut off.
"""
_FLAGS = {
    "user": "--user-column",
    "item": "--item-column",
    "value": "--value-column",
    "time": "--time-column",
    "label": "--label-column",
}
Nested = Literal["objects", "lists", "records"]
"""What a cell holds in the place of one value: an object, a list of values, or a list of objects."""
_TYPED = re.compile(r"^(.+):(token|token_seq|float|float_seq)$")


@dataclass(frozen=True)
class Column:
    """One column of a file.

    Attributes:
        name: as the file calls it, without an atomic file's type; its position from 1 where there is no header.
        sql: the column in the scan, quoted.
        type: its DuckDB type.
        sequence: what parts its values where the file says so (`token_seq` in an atomic file), else None.
        typed: the file says what the column is, so that no separator is looked for in it.
        nested: what its cells hold in the place of one value (JSON lines: as the first of them do), else None.
    """

    name: str
    sql: str
    type: str = "VARCHAR"
    sequence: str | None = None
    typed: bool = False
    nested: Nested | None = None

    @property
    def holds_objects(self) -> bool:
        """Whether its cells hold objects, or lists of them, so that a field inside may be named."""
        return self.nested in ("objects", "records")


def plain(name: str) -> str:
    """Return a column name as it is compared: "User ID", "user_id" and "userId" are one."""
    letters = re.sub(r"[\W_]+", "", name.casefold())
    unit = re.fullmatch(r"(?s)(.*[^\W_])[\s_]+(s|ms|us|ns|sec|utc)", name.strip().casefold())
    if unit and re.sub(r"[\W_]+", "", unit.group(1)) in ALIASES["time"]:
        return re.sub(r"[\W_]+", "", unit.group(1))
    return letters


def split_type(name: str) -> tuple[str, str | None]:
    """Return the name and the type of an atomic file's header cell such as `user_id:token`; the type is None elsewhere."""
    typed = _TYPED.match(name.strip())
    return (typed.group(1).strip(), typed.group(2)) if typed else (name.strip(), None)


def fits(names: Sequence[str], needed: Sequence[str], options: ReadOptions) -> int:
    """Return how many of the needed roles these column names cover."""
    known = {plain(split_type(name)[0]) for name in names}
    own = {"user": options.user_column, "item": options.item_column, "label": options.label_column}
    found = 0
    for role in needed:
        wanted = own.get(role)
        if wanted and wanted.isdecimal():
            continue  # a position: as a name it would turn a first line of data into a header
        found += plain(wanted) in known if wanted else not known.isdisjoint(ALIASES[role])
    return found


def find(columns: Sequence[Column], role: str, wanted: str | None, *, where: str) -> Column | None:
    """Return the column that plays a role, or None if there is none.

    Args:
        columns: the columns of the file.
        role: a key of `ALIASES`.
        wanted: the name that an option gives, or None.
        where: the file, for errors.

    Raises:
        DataError: the wanted name is missing, or two columns fit equally well.
    """
    if wanted is not None:
        exact = [column for column in columns if column.name == wanted] or [
            column for column in columns if plain(column.name) == plain(wanted)
        ]
        if exact:
            return _only(exact, role, where)
        inside = field_of(columns, wanted)
        if inside is None:
            raise missing(columns, role, where=where, wanted=wanted)
        return _only([inside], role, where)
    for alias in ALIASES[role]:
        found = [column for column in columns if plain(column.name) == alias]
        if found:
            return _only(found, role, where)
    return None


def field_of(columns: Sequence[Column], wanted: str) -> Column | None:
    """Return the field that a name such as `product.id` means in a column of objects, or of lists of them; or None."""
    base, *path = wanted.split(".")
    found = next((column for column in columns if column.name == base and column.holds_objects), None)
    if found is None or not path or not all(path) or '"' in wanted:
        return None
    quoted = "".join(f'."{name}"' for name in path)
    cell = found.sql if found.type == "VARCHAR" else f"to_json({found.sql})"
    if found.nested == "records":  # one value of each object in the list
        return Column(wanted, f"TRY(json_extract_string({cell}, {literal('$[*]' + quoted)}))", "VARCHAR[]", nested="lists")
    return Column(wanted, f"TRY(json_extract_string({cell}, {literal('$' + quoted)}))")


def unread(columns: Sequence[Column], used: Sequence[Column]) -> list[str]:
    """Return the names of the columns that nothing is read from: neither they nor, of a column of objects, a field inside."""
    opened = {column.name.partition(".")[0] for column in used}
    left = (column for column in columns if column.name and column not in used)
    return [column.name for column in left if not column.holds_objects or column.name not in opened]


def need(columns: Sequence[Column], role: str, wanted: str | None, *, where: str) -> Column:
    """Return the column that plays a role.

    Raises:
        DataError: there is none, or two fit equally well.
    """
    found = find(columns, role, wanted, where=where)
    if found is None:
        raise missing(columns, role, where=where)
    return found


def missing(columns: Sequence[Column], role: str, *, where: str, wanted: str | None = None) -> DataError:
    """Return the error of a column that a file lacks."""
    names = ", ".join(repr(column.name) for column in columns[:20])
    article = "an" if role[0] in "aeio" else "a"
    expected = f"a column {wanted!r}" if wanted else f"{article} {role} column ({', '.join(ALIASES[role][:4])}, ...)"
    flag = _FLAGS.get(role)
    fix = f"Name it ({flag})" if flag else f"Rename the column to {role}"
    return DataError(
        where,
        f"the columns {names}",
        expected=expected,
        fix=f"{fix}; if the first line is data, say so (--no-header).",
    )


def _only(found: Sequence[Column], role: str, where: str) -> Column:
    if len(found) > 1:
        names = ", ".join(repr(column.name) for column in found)
        raise DataError(where, f"the columns {names}", expected=f"one {role} column", fix="Rename or remove one of them.")
    column = found[0]
    if column.nested is not None:
        flag = _FLAGS.get(role)
        fix = f"Name the field inside, such as {flag} {column.name}.id." if flag else "Write the field as a column of its own."
        if column.nested == "lists":
            fix = "Write a row for each entry."
        raise DataError(where, f"{column.nested} in the {role} column {column.name!r}", expected="one value a cell", fix=fix)
    return column
