import gzip

import pytest

from metakg.data import Dataset
from metakg.errors import DataError
from metakg.readers.assemble import prepare
from metakg.readers.lfm1b import paper_options, stage_lfm1b
from metakg.readers.options import ReadOptions

T0 = 1_300_000_000  # March 2011


def write(path, lines):
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def event(user, track, time=T0):
    return f"{user}\t2\t4\t{track}\t{time}"


def events(folder, lines, name="LFM-1b_LEs.txt"):
    return write(folder / name, lines)


@pytest.fixture
def kgat(tmp_path):
    """A release with tracks 101 and 102, users 1 and 2, and two facts."""
    folder = tmp_path / "kgat"
    folder.mkdir()
    write(folder / "item_list.txt", ["org_id remap_id freebase_id", "101 0 m.one", "102 1 m.two"])
    write(folder / "user_list.txt", ["org_id remap_id", "1 0", "2 1"])
    write(folder / "entity_list.txt", ["org_id remap_id", "m.one 0", "m.two 1", "m.artist 2"])
    write(folder / "relation_list.txt", ["org_id remap_id", "http://rdf.freebase.com/ns/music.recording.artist 0"])
    write(folder / "kg_final.txt", ["0 0 2", "1 0 2"])
    write(folder / "train.txt", ["0 0", "1 1"])
    write(folder / "test.txt", ["0 1"])
    return folder


def run(path, tmp_path, **options):
    checked = ReadOptions.parse(options)
    report = prepare([lambda stage: stage_lfm1b(stage, path, checked)], checked, tmp_path / "out")
    return Dataset.load(tmp_path / "out"), {tally.kind: tally for tally in report.tallies}


def pairs(data):
    """{(user id, track id): (plays, first time)} of a data set."""
    found, v = data.interactions, data.vocabulary
    keys = zip(v.users.ids(found.users), v.items.ids(found.items), strict=True)
    return dict(zip(keys, zip(found.values.tolist(), found.times_s.tolist(), strict=True), strict=True))


@pytest.mark.parametrize("name", ["LFM-1b_LEs.txt", "LFM-1b_LEs.txt.gz"])
def test_events_become_pairs_with_plays_and_first_time(tmp_path, name):
    lines = [event(1, 101, T0 + 9), event(1, 101, T0 + 3), event(1, 102), event(2, 101), event(1, 101, T0 + 5)]
    events(tmp_path, lines, name)
    data, tallies = run(tmp_path, tmp_path)
    assert pairs(data) == {("1", "101"): (3.0, T0 + 3), ("1", "102"): (1.0, T0), ("2", "101"): (1.0, T0)}
    tally = tallies["interactions"]
    assert (tally.read, tally.kept, dict(tally.merged)) == (5, 3, {"the same user and track again": 2})


def test_joined_with_a_release_what_is_left_out_is_counted_event_by_event(tmp_path, kgat):
    lines = [event(1, 101), event(1, 101), event(3, 102), event(1, 999), event(2, 999), event(2, 999)]
    data, tallies = run(events(tmp_path, lines), tmp_path, kgat=kgat)
    assert set(pairs(data)) == {("1", "101"), ("3", "102")}
    tally = tallies["interactions"]
    assert tally.read == 6
    assert dict(tally.skipped) == {"an item that the KGAT release does not have": 3}
    v = data.vocabulary
    assert v.entities.ids(data.graph.entity.heads) == ["m.one", "m.two"]
    assert v.relations.label(0) == "music.recording.artist"


def test_the_papers_options_keep_the_pairs_of_the_release_and_cut_to_the_core(tmp_path, kgat):
    lines = [event(user, track) for user in (1, 2, 3) for track in (101, 102)]
    path = events(tmp_path, lines)
    data, tallies = run(path, tmp_path, **{**paper_options(kgat), "k_core": 1})
    assert set(pairs(data)) == {("1", "101"), ("2", "102"), ("1", "102")}
    assert dict(tallies["interactions"].skipped) == {
        "a user that the KGAT release does not have": 2,
        "a pair that the KGAT release does not have": 1,
    }
    with pytest.raises(DataError, match="none left of 6 rows"):
        run(path, tmp_path, **paper_options(kgat), overwrite=True)  # nobody has ten tracks here


def test_the_time_window_looks_at_events_not_at_pairs(tmp_path):
    lines = [event(1, 101, T0), event(1, 101, T0 + 100), event(1, 102, T0), event(1, 103, T0 + 300), event(1, 103, T0 + 400)]
    data, tallies = run(events(tmp_path, lines), tmp_path, from_time=str(T0 + 50), to_time=str(T0 + 300))
    assert pairs(data) == {("1", "101"): (1.0, T0 + 100)}
    tally = tallies["interactions"]
    assert {reason: count for reason, count in tally.filtered.items() if count} == {
        f"time before {T0 + 50}": 2,
        f"time from {T0 + 300}": 2,
    }
    assert (tally.read, tally.kept) == (5, 1)


def test_a_window_without_events_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none of 2 events in the time window; expected events from 2020-01-01 to the last"):
        run(events(tmp_path, [event(1, 101), event(1, 102)]), tmp_path, from_time="2020-01-01")


def test_a_byte_order_mark_and_blank_lines_do_not_shift_the_lines(tmp_path):
    path = tmp_path / "LFM-1b_LEs.txt"
    path.write_text("\ufeff" + "\r\n".join([event(1, 101), "", event("x", 101), "", event(1, 102), ""]), newline="")
    data, tallies = run(path, tmp_path)
    assert set(pairs(data)) == {("1", "101"), ("1", "102")}
    tally = tallies["interactions"]
    assert [place.line for place in tally.places["a user-id that is no number"]] == [3]
    assert tally.read == 3


def test_bad_events_are_counted_by_reason_with_their_lines(tmp_path):
    lines = [
        event(1, 101),
        event("", 101),
        event("one", 101),
        event(1, ""),
        event(1, -5),
        event(1, 101, "noon"),
        event(1, 101, 0),
        event(1, 101, 999_999_999),
        event(1, 101, 4_102_444_801),
        "1\t2\t4\t101",
        "1\t2\t4\t101\t1300000000\tmore",
        event(1, 102),
        event("two", 101),
    ]
    data, tallies = run(events(tmp_path, lines), tmp_path)
    assert set(pairs(data)) == {("1", "101"), ("1", "102")}
    tally = tallies["interactions"]
    assert dict(tally.rejected) == {
        "a user-id that is no number": 3,
        "a track-id that is no number": 2,
        "a timestamp that is no number": 1,
        "a time before 2002 or after 2100": 3,
        "a line that cannot be read": 2,
    }
    assert (tally.read, tally.kept) == (13, 2)
    wheres = {reason: [place.line for place in places] for reason, places in tally.places.items()}
    assert wheres == {
        "a user-id that is no number": [2, 3, 13],
        "a track-id that is no number": [4, 5],
        "a timestamp that is no number": [6],
        "a time before 2002 or after 2100": [7, 8, 9],
        "a line that cannot be read": [10, 11],
    }


def test_bad_events_may_be_forbidden(tmp_path):
    with pytest.raises(DataError, match=r"LFM-1b_LEs\.txt line 2: found a user-id that is no number"):
        run(events(tmp_path, [event(1, 101), event("x", 101)]), tmp_path, on_bad="fail")


def test_a_stray_quote_is_plain_text(tmp_path):
    lines = ['1\t"2\t4\t101\t1300000000', event(1, 102)]
    with pytest.raises(DataError, match="five numbers"):
        run(events(tmp_path, lines), tmp_path)  # the first line decides what the file is
    data, _ = run(events(tmp_path, lines[::-1]), tmp_path)
    assert set(pairs(data)) == {("1", "101"), ("1", "102")}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["user_id\tcountry\tage\tgender\tplaycount\tregistered_unixtime", "1\tDE\t20\tm\t5\t1035849600"], "user_id"),
        (["101\tSome Track\t7"], "101"),
        (["1,2,4,101,1300000000"], "1,2,4"),
        (["1 2 4 101 1300000000"], "1 2 4"),
    ],
)
def test_another_file_than_events_is_named_as_such(tmp_path, lines, found):
    with pytest.raises(DataError, match=rf"line 1: found '{found}.*expected five numbers with tabs between them.*LFM-1b_LEs"):
        run(write(tmp_path / "some.txt", lines), tmp_path)


def test_a_folder_without_events_and_a_release_of_other_data(tmp_path, kgat):
    with pytest.raises(DataError, match="no file of LFM-1b events"):
        run(tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"no interaction with the 2 items of .* \(such as '101'\)"):
        run(events(tmp_path, [event(1, 999)]), tmp_path, kgat=kgat)


# Users and names

HEADER = "user_id\tcountry\tage\tgender\tplaycount\tregistered_unixtime"


def facts(data):
    """{(user id, relation, entity id)} of the facts about users."""
    found, v = data.graph.user, data.vocabulary
    ids = (v.users.ids(found.heads), v.relations.ids(found.relations), v.entities.ids(found.tails))
    return set(zip(*ids, strict=True))


def test_what_users_told_becomes_facts_on_request(tmp_path):
    events(tmp_path, [event(user, 101) for user in (1, 2, 3)])
    users = [
        HEADER,
        "1\tDE\t25\tm\t500\t1035849600",
        "2\t\t-1\t\t7\t1230768000",
        "3\tUS\t0\tn\t1\t",
        "9\tUK\t40\tf\t3\t1035849600",
    ]
    write(tmp_path / "LFM-1b_users.txt", users)
    data, tallies = run(tmp_path, tmp_path)
    assert len(data.graph.user) == 0
    data, tallies = run(tmp_path, tmp_path, user_facts=True, overwrite=True)
    assert facts(data) == {
        ("1", "country", "country::DE"),
        ("1", "age", "age::20-29"),
        ("1", "gender", "gender::m"),
        ("1", "registered", "registered::2002"),
        ("2", "registered", "registered::2009"),
        ("3", "country", "country::US"),
    }
    assert dict(tallies["user_triples"].skipped) == {"a user without an interaction": 1}
    assert "9" not in data.vocabulary.users


def test_a_user_without_an_id_is_rejected_with_its_line(tmp_path):
    events(tmp_path, [event(1, 101)])
    write(tmp_path / "LFM-1b_users.txt", [HEADER, "1\tDE\t25\tm\t500\t1035849600", "\tDE\t25\tm\t500\t1035849600"])
    _, tallies = run(tmp_path, tmp_path, user_facts=True)
    assert dict(tallies["user_triples"].rejected) == {"no user": 1}
    assert [place.line for place in tallies["user_triples"].places["no user"]] == [3]


def test_user_facts_need_a_file_of_users(tmp_path):
    events(tmp_path, [event(1, 101)])
    with pytest.raises(DataError, match=r"no LFM-1b_users\.txt"):
        run(tmp_path, tmp_path, user_facts=True)
    write(tmp_path / "LFM-1b_users.txt", ["1\tDE\t25\tm\t500\t1035849600"])
    with pytest.raises(DataError, match=r"LFM-1b_users\.txt line 1.*expected the header user_id country"):
        run(tmp_path, tmp_path, user_facts=True)


def test_names_of_tracks_and_artists_lie_beside_the_events(tmp_path):
    events(tmp_path, [event(1, track) for track in (101, 102, 103)])
    tracks = ['101\tSomebody\'s "Song"\t7', "102\tÉtude\t8", "999\tNever heard\t7", "998\tBroken\tline\t7"]
    write(tmp_path / "LFM-1b_tracks.txt", tracks)
    data, tallies = run(tmp_path, tmp_path)
    v = data.vocabulary
    assert [v.items.label(v.items.row(name)) for name in ("101", "102", "103")] == ['Somebody\'s "Song"', "Étude", "103"]
    assert dict(tallies["labels"].skipped) == {"a name of a track without an interaction": 1}
    assert dict(tallies["labels"].rejected) == {"a line that cannot be read": 1}
    write(tmp_path / "LFM-1b_artists.txt", ["7\tThe Artists", "9\tOthers"])
    data, _ = run(tmp_path, tmp_path, overwrite=True)
    v = data.vocabulary
    assert [v.items.label(v.items.row(name)) for name in ("101", "102")] == ['Somebody\'s "Song" - The Artists', "Étude"]


def test_a_damaged_file_is_refused_whatever_its_rows_look_like(tmp_path):
    lines = "".join(f"{1 + n * 7919 % 90_001}\t1\t1\t{1 + n * 104_729 % 89_989}\t{T0 + n}\n" for n in range(20_000))
    packed = bytearray(gzip.compress(lines.encode()))
    packed[len(packed) // 2] ^= 1
    (tmp_path / "LFM-1b_LEs.txt.gz").write_bytes(bytes(packed))
    with pytest.raises(DataError, match=r"LFM-1b_LEs\.txt\.gz: found a damaged or cut-off"):
        run(tmp_path / "LFM-1b_LEs.txt.gz", tmp_path)
