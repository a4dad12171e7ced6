"""LFM-1b: a billion listening events of Last.fm users, joined with KGAT's Last-FM graph.

    LFM-1b_LEs.txt       user-id artist-id album-id track-id timestamp     tab separated, no header, 1,088,161,692 lines
    LFM-1b_users.txt     user_id country age gender playcount registered_unixtime     with a header
    LFM-1b_tracks.txt    track-id track-name artist-id                     for names, if it lies beside the events
    LFM-1b_artists.txt   artist-id artist-name                             for names

An item is a track; that somebody listened to it is the interaction, how often is the value, and the first time is the time.
With `kgat`, the items are the tracks of `item_list.txt` (its `org_id` is the track-id) and the facts are those of
`kg_final.txt`.

The events are read once. Events of one user and track become one row during that scan, and events that the release or the time
window leaves out become a count, so what is stored is a few million rows and not a billion.

`user_facts` adds what a user told Last.fm at registration: country, age (in bands of ten years; -1 and 0 mean untold), gender,
and the year of registration. The play count is left out, since it sums up listening that a scenario wants predicted.

Source: Schedl, The LFM-1b Dataset for Music Retrieval and Recommendation, ICMR 2016.

Differs from what KGAT and MetaKG did:

- KGAT says it took the events of January to June 2015 and cut to the 10-core, but LFM-1b was collected until August 2014; no
  window is applied here unless `from_time` and `to_time` say so. The release has the resulting pairs, without times:
  `follow="pairs"` keeps just these (train.txt and test.txt), and gives the paper's 3.03 million interactions.
- MetaKG sorts users by their registration and tracks by their first event of any user. Here both are sorted by the first
  interaction that is kept, so that one rule serves every data set. The year of registration is a fact on request.
- Times before 2002, when Audioscrobbler began, come from clocks that were wrong; such events are rejected and counted. MetaKG
  takes them for the first times of their tracks.
"""

from __future__ import annotations

from pathlib import Path

from metakg.errors import DataError
from metakg.readers import raw
from metakg.readers.filters import seconds
from metakg.readers.intake import BROKEN, LATEST_S
from metakg.readers.options import ReadOptions
from metakg.readers.scan import Scan, check_file, literal, scan_csv
from metakg.readers.staging import Stage

_EVENTS = ("LFM-1b_LEs.txt",)
_USERS = ("LFM-1b_users.txt",)
_TRACKS = ("LFM-1b_tracks.txt",)
_ARTISTS = ("LFM-1b_artists.txt",)
_COLUMNS = ("user_id", "artist_id", "album_id", "track_id", "listened")
_USER_COLUMNS = ("user_id", "country", "age", "gender", "playcount", "registered_unixtime")
_EARLIEST_S = 1_009_843_200
"""2002-01-01, the year in which Audioscrobbler, later Last.fm, began."""
_GOOD_EVENT = r"[0-9]{1,18}\t[^\t]*\t[^\t]*\t[0-9]{1,18}\t1[1-9][0-9]{8}"
"""Text that is surely a good event; what it does not fit is looked at cell by cell."""


_OCCURRING = "SELECT CAST({0} AS VARCHAR) FROM lfm_events WHERE {0} IS NOT NULL"


def paper_options(kgat: Path) -> dict[str, object]:
    """Return the options that give the paper's Last-FM from the events and KGAT's release folder (with train.txt)."""
    return {"kgat": kgat, "follow": "pairs", "k_core": 10}


def stage_lfm1b(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage LFM-1b: the file of events, or the folder that holds it.

    Raises:
        DataError: this is no file of events, none of the tracks of the release is in it, or user facts are asked for and there
            is no file of users.
    """
    raw.refuse_options(options, "LFM-1b", "network")
    path = raw.one_of(path, _EVENTS, "LFM-1b events") if path.is_dir() else path
    _check_events(path)
    release = raw.open_release(stage, options)
    scan = scan_csv(path, _COLUMNS, delimiter="\t", quote="")
    _stage_events(stage, scan, release, options)
    stage.note("lfm-1b", [path], raw.join_release(stage, release, _OCCURRING.format("item"), path))
    if options.user_facts:
        _stage_users(stage, path)
    _stage_names(stage, path)


def _check_events(path: Path) -> None:
    """Refuse a file whose first line is no event, such as the file of users or tracks."""
    first = raw.first_lines(path, 1)[0].split("\t")
    if len(first) != len(_COLUMNS) or not all(cell.strip().isdigit() for cell in first):
        raise DataError(
            f"{path} line 1",
            repr("\t".join(first)[:80]),
            expected="five numbers with tabs between them: user-id artist-id album-id track-id timestamp",
            fix="Name the file of events, LFM-1b_LEs.txt; the files of users and tracks are found beside it.",
        )


def _stage_events(stage: Stage, scan: Scan, release: raw.Release | None, options: ReadOptions) -> None:
    """Read the events in one pass, collapsed; stage what is left, and count what is not."""
    earlier = f"WHEN time_s < {seconds(options.from_time, 'from_time')} THEN 'before'" if options.from_time else ""
    later = f"WHEN time_s >= {seconds(options.to_time, 'to_time')} THEN 'after'" if options.to_time else ""
    outside = f"CASE {earlier} {later} END" if earlier or later else "NULL::VARCHAR"
    skip = release.skip("user", "item", "BIGINT") if release else "NULL::VARCHAR"
    judged = (
        f"SELECT *, CASE WHEN problem IS NULL THEN {skip} END AS skip, CASE WHEN problem IS NULL THEN {outside} END AS outside "
        f"FROM ({_judged('SELECT user_id, track_id, listened FROM ' + scan.sql)})"
    )
    stays = "problem IS NULL AND skip IS NULL AND outside IS NULL"
    raw.once(
        stage,
        "lfm_events",
        f"SELECT CASE WHEN {stays} THEN user END AS user, CASE WHEN {stays} THEN item END AS item, problem, skip, outside, "
        f"min(time_s) AS time, count(*) AS plays FROM ({judged}) GROUP BY ALL",
        scan.path,
    )
    run = stage.connection.execute
    for reason, count in run("SELECT skip, sum(plays) FROM lfm_events WHERE skip IS NOT NULL GROUP BY 1").fetchall():
        stage.count("interactions", "skipped", reason, int(count))
    names = {"before": f"time before {options.from_time}", "after": f"time from {options.to_time}"}
    counted = "SELECT outside, sum(plays) FROM lfm_events WHERE outside IS NOT NULL AND skip IS NULL GROUP BY 1"
    for reason, count in run(counted).fetchall():
        stage.count("interactions", "filtered", names[reason], int(count))
    kept = "FROM lfm_events WHERE user IS NOT NULL"
    if not raw.number(
        stage, "SELECT count(*) FROM lfm_events WHERE user IS NOT NULL OR problem IS NOT NULL OR skip IS NOT NULL"
    ):
        raise DataError(
            str(scan.path),
            f"none of {raw.number(stage, 'SELECT sum(plays) FROM lfm_events'):,} events in the time window",
            expected=f"events from {options.from_time or 'the first'} to {options.to_time or 'the last'}",
            fix="Widen the window (--from-time, --to-time).",
        )
    stage.count("interactions", "merged", "the same user and track again", raw.number(stage, f"SELECT sum(plays - 1) {kept}"))
    stage.add(
        "interactions",
        f"SELECT CAST(user AS VARCHAR) AS user, CAST(item AS VARCHAR) AS item, plays AS value, time, NULL::VARCHAR AS problem, "
        f"{literal(str(scan.path))} AS file, NULL::BIGINT AS line {kept} UNION ALL {_bad_events(stage, scan)}",
    )


def _judged(cells: str) -> str:
    """Return SQL for events with typed columns, and what is wrong with them, from their three cells as text."""
    user, item, time = (
        f"CASE WHEN regexp_full_match({name}, '[0-9]+') THEN TRY_CAST({name} AS BIGINT) END"
        for name in ("user_id", "track_id", "listened")
    )
    return (
        "SELECT *, CASE WHEN user IS NULL THEN 'a user-id that is no number' "
        "WHEN item IS NULL THEN 'a track-id that is no number' WHEN time_s IS NULL THEN 'a timestamp that is no number' "
        f"WHEN time_s NOT BETWEEN {_EARLIEST_S} AND {LATEST_S} THEN 'a time before 2002 or after 2100' END AS problem "
        f"FROM (SELECT *, {user} AS user, {item} AS item, {time} AS time_s FROM ({cells}))"
    )


def _bad_events(stage: Stage, scan: Scan) -> str:
    """Return SQL for the events that cannot be used, each with its line.

    The lines are counted in a second pass over the text, which is made only if there is something to find: numbering lines
    keeps a scan from running in parallel.
    """
    known = raw.number(stage, "SELECT sum(plays) FROM lfm_events WHERE problem IS NOT NULL")
    known += len(scan.rejected(stage.connection))
    if not known:
        return "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE false"
    # Latin-1 decodes any byte, so that every line is a line; a blank one is NULL, a byte order mark is three letters
    lines = scan_csv(scan.path, ("text",), delimiter="\x01", quote="", encoding="latin-1")
    numbered = f"SELECT ltrim(text, '\u00ef\u00bb\u00bf') AS text, row_number() OVER () AS line FROM {lines.sql}"
    odd = f"SELECT line, string_split(text, '\t') AS cells FROM ({numbered}) WHERE NOT regexp_full_match(text, '{_GOOD_EVENT}')"
    cells = f"SELECT line, cells[1] AS user_id, cells[4] AS track_id, cells[5] AS listened, len(cells) AS width FROM ({odd})"
    problem = f"CASE WHEN width != {len(_COLUMNS)} THEN '{BROKEN}' ELSE problem END"
    select = f"SELECT *, {problem} AS why FROM ({_judged(cells)}) WHERE width != {len(_COLUMNS)} OR problem IS NOT NULL"
    raw.once(stage, "lfm_bad_events", select, scan.path)
    found = raw.number(stage, "SELECT count(*) FROM lfm_bad_events")
    stage.count("interactions", "rejected", BROKEN, known - found)  # bytes that are no UTF-8, in columns that are not used
    return (
        f"SELECT left(user_id, 80), left(track_id, 80), NULL, NULL, why, {literal(str(scan.path))}, line FROM lfm_bad_events "
    )


def _stage_users(stage: Stage, events: Path) -> None:
    """Stage what users told Last.fm, for users with an interaction."""
    path = raw.sibling(events, _USERS)
    if path is None:
        raise DataError(
            str(events.parent),
            f"no {_USERS[0]}",
            expected="it beside the events, since facts about users are asked for",
            fix="Put it there, or leave user facts out.",
        )
    header = tuple(raw.first_lines(path, 1)[0].split("\t"))
    if header != _USER_COLUMNS:
        raise DataError(
            f"{path} line 1",
            repr("\t".join(header)[:80]),
            expected=f"the header {' '.join(_USER_COLUMNS)}, with tabs",
            fix="Restore the file from the data set.",
        )
    scan = scan_csv(path, _USER_COLUMNS, delimiter="\t", quote="", header=True)
    age = "TRY_CAST(age AS INTEGER)"
    facts = ", ".join(
        f"{{'relation': '{relation}', 'entity': '{relation}::' || {value}}}"
        for relation, value in (
            ("country", "nullif(trim(country), '')"),
            ("age", f"CASE WHEN {age} BETWEEN 1 AND 119 THEN format('{{}}-{{}}', {age} // 10 * 10, {age} // 10 * 10 + 9) END"),
            ("gender", "CASE WHEN lower(trim(gender)) IN ('m', 'f') THEN lower(trim(gender)) END"),
            ("registered", "strftime(make_timestamp(TRY_CAST(registered_unixtime AS BIGINT) * 1000000), '%Y')"),
        )
    )
    raw.once(stage, "lfm_users", f"SELECT *, row_number() OVER () - 1 AS ordinal FROM {scan.sql}", path)
    known = f"trim(user_id) IN ({_OCCURRING.format('user')})"
    silent = f"SELECT count(*) FROM lfm_users WHERE user_id IS NOT NULL AND NOT {known}"
    stage.count("user_triples", "skipped", "a user without an interaction", raw.number(stage, silent))
    nobody = "[{'relation': 'country', 'entity': NULL}]"  # a row without a user-id stays one row, to be rejected as such
    told = f"SELECT user_id, ordinal, unnest(CASE WHEN user_id IS NULL THEN {nobody} ELSE [{facts}] END) AS fact FROM lfm_users"
    stage.note("lfm-1b-users", [path])
    stage.add(
        "user_triples",
        f"SELECT user_id AS user, fact.relation AS relation, fact.entity AS entity, ordinal FROM ({told}) "
        f"WHERE user_id IS NULL OR (fact.entity IS NOT NULL AND {known})",
        scan=scan,
    )


def _stage_names(stage: Stage, events: Path) -> None:
    """Stage "track - artist" as the name of every track with an interaction, as far as the files lie beside the events."""
    path = raw.sibling(events, _TRACKS)
    if path is None:
        return
    check_file(path)
    scan = scan_csv(path, ("track_id", "track_name", "artist_id"), delimiter="\t", quote="")
    known = f"trim(track_id) IN ({_OCCURRING.format('item')})"
    chosen = ", ".join(f"CASE WHEN {known} THEN trim({name}) END AS {name}" for name in ("track_id", "track_name", "artist_id"))
    raw.once(stage, "lfm_tracks", f"SELECT {chosen}, count(*) AS rows FROM {scan.sql} GROUP BY ALL", path)
    silent = "SELECT sum(rows) FROM lfm_tracks WHERE track_id IS NULL"
    stage.count("labels", "skipped", "a name of a track without an interaction", raw.number(stage, silent))
    stage.count("labels", "rejected", BROKEN, len(scan.rejected(stage.connection)))
    artists = raw.sibling(events, _ARTISTS)
    label, joined = "track_name", ""
    if artists is not None:
        check_file(artists)
        names = scan_csv(artists, ("artist_id", "artist_name"), delimiter="\t", quote="")
        wanted = "trim(artist_id) IN (SELECT artist_id FROM lfm_tracks WHERE artist_id IS NOT NULL)"
        name = "min(trim(artist_name)) AS artist_name"
        select = f"SELECT trim(artist_id) AS artist_id, {name} FROM {names.sql} WHERE {wanted} GROUP BY 1"
        raw.once(stage, "lfm_artists", select, artists)
        label, joined = "concat_ws(' - ', track_name, artist_name)", "LEFT JOIN lfm_artists USING (artist_id)"
    stage.note("lfm-1b-names", [path, artists] if artists else [path])
    if raw.number(stage, "SELECT count(*) FROM lfm_tracks WHERE track_id IS NOT NULL AND track_name IS NOT NULL"):
        stage.add(
            "labels",
            f"SELECT 'item' AS kind, track_id AS id, {label} AS label, {literal(str(path))} AS file, NULL::BIGINT AS line "
            f"FROM lfm_tracks {joined} WHERE track_id IS NOT NULL AND track_name IS NOT NULL",
        )
