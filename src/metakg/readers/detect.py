"""Which source module reads which path: by what lies in a folder, by the name of a file, or by its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from metakg.errors import ConfigError, DataError, EmptyFileError
from metakg.readers import amazon, lfm1b, yelp
from metakg.readers.atomic import SUFFIXES as ATOMIC
from metakg.readers.atomic import looks_atomic, stage_atomic, suffix
from metakg.readers.attributes import stage_item_attributes, stage_user_attributes
from metakg.readers.columns import fits, plain
from metakg.readers.kgat import looks_like_kgat, stage_kgat
from metakg.readers.options import ReadOptions
from metakg.readers.rdf import looks_like_rdf, stage_rdf
from metakg.readers.scan import check_file, reading
from metakg.readers.sniff import NEEDS, Role, first_names
from metakg.readers.staging import Stage
from metakg.readers.tables import stage_interactions, stage_labels, stage_links, stage_triples

Format = Literal["auto", "kgat", "atomic", "table", "rdf", "amazon", "lfm1b", "yelp"]
Source = Callable[[Stage], None]
"""A source module's function with its file and options bound."""
StageFile = Callable[[Stage, Path, ReadOptions], None]
ROLES: Mapping[Role, StageFile] = {
    "interactions": stage_interactions,
    "triples": stage_triples,
    "links": stage_links,
    "labels": stage_labels,
    "item_attributes": stage_item_attributes,
    "user_attributes": stage_user_attributes,
}
_RAW: Mapping[str, tuple[StageFile, tuple[str, ...]]] = {
    "amazon": (amazon.stage_amazon, ("reviews_books", "ratings_books", "books_5.json")),
    "lfm1b": (lfm1b.stage_lfm1b, ("lfm-1b_les.txt",)),
    "yelp": (yelp.stage_yelp, ("yelp_academic_dataset_review.json",)),
}
"""Format -> its function, and how the name of its main file begins (in small letters). Amazon's `Books.csv` and `Books.json.gz`
are not here: many other tables of books are called so, and are to be read by their columns."""
_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".ndjson", ".json", ".dat", ".data")
_STEMS: Mapping[Role, tuple[str, ...]] = {
    "interactions": ("interactions", "ratings", "clicks", "events", "reviews", "plays", "purchases"),
    "triples": ("triples", "kg", "facts", "graph"),
    "links": ("links", "link", "item_links", "item2entity"),
    "labels": ("labels", "entity_names", "names"),
    "item_attributes": ("items", "item_attributes", "movies", "books", "products"),
    "user_attributes": ("users", "user_attributes", "customers"),
}
"""Role -> what such a file is called in a folder of tables; elsewhere its columns decide."""
_OF_A_CLICK = ("user", "item", "value", "time")


def find_sources(
    paths: Sequence[Path], roles: Mapping[Role, Sequence[Path]], options: ReadOptions, form: str = "auto"
) -> list[Source]:
    """Return the sources of some paths whose format is found, and of files whose role is said.

    Raises:
        ConfigError: nothing is given, or the format is unknown.
        DataError: a path is missing, or nothing shows what it is.
    """
    if form not in get_args(Format):
        raise ConfigError(
            "option format", repr(form), expected=f"one of {', '.join(get_args(Format))}", fix="Correct it, or leave it out."
        )
    sources: list[Source] = []
    for path in paths:
        with reading(path):
            sources += _of_path(path, options, form)
    for role, files in roles.items():
        for file in files:
            _refuse_raw_options(options, file)
            stage = stage_rdf if role == "triples" and looks_like_rdf(file) else ROLES[role]
            sources.append(_bind(stage, file, options))
    if not sources:
        raise ConfigError("input", "no file", expected="a folder, or files by their role", fix="See metakg prepare --help.")
    return sources


def paper_options(paths: Sequence[Path], options: Mapping[str, Any], form: str) -> dict[str, Any]:
    """Return the options that give the paper's data set from raw files; those that are given win.

    Raises:
        ConfigError: the input is not one of the paper's raw data, or the release folder that it needs is not named.
    """
    found = (_format(paths[0]) if form == "auto" else form) if len(paths) == 1 and paths[0].exists() else form
    kgat = Path(options["kgat"]) if options.get("kgat") is not None else None
    if found not in _RAW:
        raise ConfigError(
            "option paper",
            f"input of format {found!r}",
            expected="the raw files of Amazon, LFM-1b or Yelp",
            fix="Leave it out; the published Last-FM files are the paper's data as they are.",
        )
    if found == "yelp":
        return {**yelp.paper_options(kgat), **options}
    if kgat is None:
        raise ConfigError(
            "option paper",
            "no KGAT release",
            expected="the folder of the release whose graph the paper uses",
            fix='Fetch it ("metakg data list"), and name it with --kgat.',
        )
    return {**(amazon if found == "amazon" else lfm1b).paper_options(kgat), **options}


def is_prepared(path: Path) -> bool:
    """Return whether a folder is a prepared data set."""
    return (path / "manifest.json").is_file() and (path / "interactions.parquet").is_file()


def _bind(stage_file: StageFile, path: Path, options: ReadOptions) -> Source:
    return lambda stage: stage_file(stage, path, options)


def _of_path(path: Path, options: ReadOptions, form: str) -> list[Source]:
    if not path.exists():
        raise DataError(str(path), "no such file or folder", expected="data to read", fix="Check the path.")
    if form == "auto":
        form = _format(path)
    if form in _RAW:
        return [_bind(_RAW[form][0], path, options)]
    _refuse_raw_options(options, path)
    if form == "kgat":
        return [_bind(stage_kgat, path, options)]
    if form == "rdf":
        return [_bind(stage_rdf, path, options)]
    if form == "atomic":
        if path.is_file() and suffix(path) != ".inter":
            return [_bind(ATOMIC[suffix(path)], path, options)]
        return [_bind(stage_atomic, path, options)]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _is_table(file) or looks_like_rdf(file))
        tables = (file for file in files if not looks_like_rdf(file))
        clicks = [file for file in tables if _role_by_name(file) == "interactions"]
        return [_of_file(file, options, clicks) for file in files]
    return [_of_file(path, options)]


def _refuse_raw_options(options: ReadOptions, path: Path) -> None:
    """Raise if an option that only the raw files know is set for another file, where it would have no effect."""
    for name in ("kgat", "follow", "network", "user_facts"):
        if name in options.model_fields_set:
            raise ConfigError(
                f"option {name}",
                f"it beside {path}",
                expected=f"the raw files of {', '.join(_RAW)}, which alone know it",
                fix="Leave it out, or name the format (--format).",
            )


def _format(path: Path) -> str:
    """Return the format of a path.

    Raises:
        DataError: nothing in the folder is known.
    """
    names = [path.name.casefold()] if path.is_file() else [file.name.casefold() for file in path.iterdir()]
    for form, (_, starts) in _RAW.items():
        if any(name.startswith(starts) for name in names):
            return form
    if path.is_file():
        return "rdf" if looks_like_rdf(path) else "atomic" if suffix(path) in ATOMIC else "table"
    if looks_like_kgat(path):
        return "kgat"
    if looks_atomic(path):
        return "atomic"
    if is_prepared(path):
        raise DataError(
            str(path),
            "a data set that is already prepared",
            expected="raw files",
            fix="Use the folder as it is (metakg split).",
        )
    files = [file for file in path.iterdir() if file.is_file()]
    if any(_is_table(file) for file in files):
        return "table"
    if any(looks_like_rdf(file) for file in files):
        return "rdf"
    folders = [entry for entry in path.iterdir() if entry.is_dir()]
    empty = f"no file, but {len(folders)} folder{'s' * (len(folders) > 1)}" if folders else "an empty folder"
    raise DataError(
        str(path),
        f"the files {', '.join(sorted(file.name for file in files)[:8])}" if files else empty,
        expected="a KGAT folder, atomic files (.inter), tables (.csv, .tsv, .parquet, .jsonl) or RDF (.nt, .ttl)",
        fix="Name the files by their role, for example --interactions FILE --triples FILE; a folder may be one table in parts.",
    )


def _is_table(path: Path) -> bool:
    return path.is_file() and suffix(path) in _TABLES and not path.name.casefold().startswith(("readme", "license", "."))


def _of_file(path: Path, options: ReadOptions, clicks: Sequence[Path] = ()) -> Source:
    if looks_like_rdf(path):
        return _bind(stage_rdf, path, options)
    return lambda stage: _stage_table(stage, path, options, clicks)


def _role_by_name(path: Path) -> Role | None:
    stem = path.name.casefold().split(".")[0]
    return next((role for role, stems in _STEMS.items() if stem in stems), None)


def _stage_table(stage: Stage, path: Path, options: ReadOptions, clicks: Sequence[Path]) -> None:
    """Stage a table for what its name says, or for what its columns show.

    A file called as links are whose columns name no entity (MovieLens links films to other sites) is what its columns show.

    Args:
        stage: where to.
        path: the file.
        options: how to read it.
        clicks: files of the folder that are called as clicks are. Another one of users and items that has columns beside them
            which none of these has (tags, say) is left out, and noted.

    Raises:
        DataError: neither shows what it is.
    """
    named = _role_by_name(path)
    if named and named != "links":
        ROLES[named](stage, path, options)
        return
    check_file(path)
    names = first_names(path, options, stage)
    if named and fits(names, NEEDS[named], options) in (0, len(NEEDS[named])):  # 0: its first line may be data
        ROLES[named](stage, path, options)
        return
    for role, needed in NEEDS.items():
        wanted = ("entity", "label") if role == "labels" and not fits(names, ("id",), options) else needed
        if fits(names, wanted, options) == len(wanted):
            others = _others(stage, names, options, clicks) if role == "interactions" else []
            if others:
                stage.note("table", [path], {"left_out": others})
            else:
                ROLES[role](stage, path, options)
            return
    if named:  # it knows best what it lacks
        ROLES[named](stage, path, options)
        return
    raise DataError(
        f"{path} line 1",
        f"the columns {', '.join(map(repr, names[:8]))}",
        expected="columns that show what the file holds: user and item, or head, relation and tail, or item and entity",
        fix="Say what it is: --interactions FILE, --triples FILE, --links FILE, --labels FILE, --item-attributes FILE.",
    )


def _others(stage: Stage, names: Sequence[str], options: ReadOptions, clicks: Sequence[Path]) -> list[str]:
    """Return those columns that are no part of a click and that no file which is called as clicks are has; none without one."""
    others = [name for name in names if name and not any(fits([name], [role], options) for role in _OF_A_CLICK)]
    known: set[str] = set()
    for file in clicks if others else ():
        with suppress(EmptyFileError):  # said when it is read
            known |= {plain(name) for name in first_names(file, options, stage)}
    return [name for name in others if clicks and plain(name) not in known]
