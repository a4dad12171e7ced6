from __future__ import annotations

import pytest

from metakg.errors import ConfigError, DataError, EmptyFileError
from metakg.readers.intake import take_in
from metakg.readers.options import ReadOptions
from metakg.readers.scan import scan_csv, scan_json_lines
from metakg.readers.staging import Stage


@pytest.fixture
def stage(connection):
    return Stage(connection)


def events(stage, write, text, options=None, columns="user, item, value, time"):
    """Take in a CSV of user, item, value, time without a header."""
    scan = scan_csv(write("e.csv", text), ["user", "item", "value", "time"])
    stage.add("interactions", f"SELECT {columns} FROM {scan.sql}", scan=scan)
    return take_in(stage, stage.parts[-1], options or ReadOptions())


def typed(stage, sql, kind="interactions", options=None):
    """Take in rows of typed columns."""
    stage.add(kind, f"SELECT *, 'x' AS file, 1 AS line FROM ({sql})")
    return take_in(stage, stage.parts[-1], options or ReadOptions())


def column(stage, checked, name):
    query = f"SELECT {name} FROM {checked.table} WHERE code = 0 ORDER BY rowid"
    return [row[0] for row in stage.connection.execute(query).fetchall()]


def test_ids_are_trimmed_text_and_nothing_else_changes(stage, write):
    checked = events(stage, write, '007, a b ,1,1\n1.0,"  ",1,1\nжук,東京,1,1\n1e3,"x,y",1,1\n')
    assert column(stage, checked, "user") == ["007", "жук", "1e3"]
    assert column(stage, checked, "item") == ["a b", "東京", "x,y"]
    assert checked.rejected == {"no item": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("881250949", 881_250_949),
        ("881250949.9", 881_250_949),
        ("8.81250949e8", 881_250_949),
        ("2014-07-23T12:00:00Z", 1_406_116_800),
        ("2014-07-23 12:00:00", 1_406_116_800),
        ("2014-07-23T12:00:00.75+02:00", 1_406_109_600),
        ("2014-07-23", 1_406_073_600),
        (" 2014-07-23 ", 1_406_073_600),
        ("4102444800", 4_102_444_800),
    ],
)
def test_times_that_can_be_read(stage, write, text, seconds):
    assert column(stage, events(stage, write, f"u,i,1,{text}\n"), "time_s") == [seconds]


@pytest.mark.parametrize(
    "text",
    ["nan", "NaN", "inf", "-inf", "-1", "-0.5", "yesterday", "23/07/2014", "1969-12-31", "infinity", "4102444801", "9e99"],
)
def test_times_that_cannot(stage, write, text):
    checked = events(stage, write, f"u,i,1,5\nu,j,1,{text}\n")
    assert checked.rejected == {"a bad time": 1}
    assert [str(place) for place in checked.places["a bad time"]] == [
        f"{stage.parts[0].scan.path} line 2: user=u, item=j, value=1, time={text}"
    ]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_is_told_by_size(stage, write, unit, factor):
    times = [881_250_949, 1_406_116_800]
    text = "".join(f"u,i{n},1,{time * factor}\n" for n, time in enumerate(times))
    assert column(stage, events(stage, write, text), "time_s") == times
    said = events(stage, write, text, ReadOptions(time_unit=unit))
    assert column(stage, said, "time_s") == times


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("23.07.2014 14:00", "%d.%m.%Y %H:%M"),
        ("07/23/2014 02:00:00 PM", "%m/%d/%Y %I:%M:%S %p"),
        ("20140723140000", "%Y%m%d%H%M%S"),
        ("23 Jul 2014 16:00 +0200", "%d %b %Y %H:%M %z"),
        (" 2014-07-23T14:00 ", "%Y-%m-%dT%H:%M"),
    ],
)
def test_times_as_they_are_written(stage, write, written, given):
    checked = events(stage, write, f"u,i,1,{written}\nu,j,1,2014/07/23\n", ReadOptions(time_format=given))
    assert column(stage, checked, "time_s") == [1_406_124_000]
    assert checked.rejected == {"a bad time": 1}


def test_a_format_reads_numbers_too_and_leaves_typed_times_alone(stage):
    checked = typed(stage, "SELECT 'u' AS user, 'i' AS item, 20140723 AS time", options=ReadOptions(time_format="%Y%m%d"))
    assert column(stage, checked, "time_s") == [1_406_073_600]


def test_a_format_reads_whole_numbers_that_became_floats(stage):
    rows = "SELECT 'u' AS user, i AS item, t AS time FROM (VALUES ('i', 20140723::DOUBLE), ('j', NULL)) AS x(i, t)"
    checked = typed(stage, rows, options=ReadOptions(time_format="%Y%m%d"))
    assert column(stage, checked, "time_s") == [1_406_073_600]
    assert checked.rejected == {"no time": 1}


def test_a_time_that_does_not_fit_the_format_is_told_with_it(stage, write):
    with pytest.raises(DataError, match=r"a bad time .*; expected a time as %d\.%m\.%Y writes it, .*Correct the format"):
        events(stage, write, "u,i,1,2014-07-23\n", ReadOptions(time_format="%d.%m.%Y"))


def test_typed_times_need_no_format(stage):
    checked = typed(
        stage, "SELECT 'u' AS user, 'i' AS item, DATE '2014-07-23' AS time", options=ReadOptions(time_format="%d.%m.%Y")
    )
    assert column(stage, checked, "time_s") == [1_406_073_600]


@pytest.mark.parametrize("given", ["%d.%q", "%Y %"])
def test_a_format_that_is_none(stage, write, given):
    with pytest.raises(ConfigError, match="option time_format"):
        events(stage, write, "u,i,1,23.07.2014\n", ReadOptions(time_format=given))


def test_decimals_behind_a_comma(stage, write):
    text = 'u,i,"3,5",5\nu,j,-2,5\nu,k,3.5,5\nu,l,"1.234,5",5\nu,m,"1,2,3",5\n'
    checked = events(stage, write, text, ReadOptions(decimal=","))
    assert column(stage, checked, "value") == [3.5, -2.0]
    assert checked.rejected == {"a bad value": 3}, "a point is no decimal comma, and thousands are not guessed at"


def test_json_writes_decimals_behind_a_point_whatever_the_tables_do(stage, write):
    scan = scan_json_lines(write("e.jsonl", '{"user": "u", "item": "i", "value": 3.5}\n'), ["user", "item", "value"])
    stage.add("interactions", f"SELECT user, item, value FROM {scan.sql}", scan=scan)
    assert column(stage, take_in(stage, stage.parts[-1], ReadOptions(decimal=",")), "value") == [3.5]


def test_a_stray_unit_among_many_is_a_bad_time_not_a_distant_future(stage, write):
    checked = events(stage, write, "u,a,1,1406116800\nu,b,1,1406116801\nu,c,1,1406116802000\n")
    assert column(stage, checked, "time_s") == [1_406_116_800, 1_406_116_801]
    assert checked.rejected == {"a bad time": 1}


@pytest.mark.parametrize(
    ("sql", "seconds"),
    [
        ("1406116800::BIGINT", 1_406_116_800),
        ("1406116800999::BIGINT", 1_406_116_800),
        ("1406116800999999999::BIGINT", 1_406_116_800),
        ("1406116800.5::DOUBLE", 1_406_116_800),
        ("TIMESTAMP '2014-07-23 12:00:00.9'", 1_406_116_800),
        ("TIMESTAMPTZ '2014-07-23 12:00:00+02'", 1_406_109_600),
        ("TIMESTAMP_NS '2014-07-23 12:00:00'", 1_406_116_800),
        ("DATE '2014-07-23'", 1_406_073_600),
        ("1406116800::DECIMAL(18,2)", 1_406_116_800),
    ],
)
def test_typed_times(stage, sql, seconds):
    checked = typed(stage, f"SELECT 'u' AS user, 'i' AS item, {sql} AS time")
    assert column(stage, checked, "time_s") == [seconds]


@pytest.mark.parametrize(
    "sql",
    [
        "NULL::BIGINT",
        "(-1)::BIGINT",
        "'nan'::DOUBLE",
        "'infinity'::TIMESTAMP",
        "9223372036854775807::BIGINT",
        "'infinity'::DATE",
    ],
)
def test_typed_times_that_are_none(stage, sql):
    checked = typed(
        stage,
        f"SELECT 'u' AS user, 'i' AS item, 5::BIGINT AS time UNION ALL SELECT 'u', 'j', {sql}".replace(
            "5::BIGINT",
            "TIMESTAMP '2014-07-23'" if "TIMESTAMP" in sql else "DATE '2014-07-23'" if "DATE" in sql else "5::BIGINT",
        ),
    )
    assert checked.good == 1
    assert sum(checked.rejected.values()) == 1


@pytest.mark.parametrize("text", ["nan", "inf", "good", "1e39", "3 stars"])
def test_values_that_are_no_numbers(stage, write, text):
    checked = events(stage, write, f"u,i,3.5,5\nu,j,{text},5\n")
    assert column(stage, checked, "value") == [3.5]
    assert checked.rejected == {"a bad value": 1}


def test_each_row_has_one_reason_and_all_add_up(stage, write):
    text = "u,i,1,5\n,i,1,5\nu,,1,5\n,,x,y\nu,i,,5\nu,i,x,5\nu,i,1,\nu,i,1,x\nu,i\n"
    checked = events(stage, write, text)
    assert checked.rejected == {
        "no user": 2, "no item": 1, "no value": 1, "a bad value": 1, "no time": 1, "a bad time": 1,
        "a line that cannot be read": 1,
    }  # fmt: skip
    assert (checked.read, checked.good) == (9, 1)
    assert {reason: [place.line for place in places] for reason, places in checked.places.items()} == {
        "no user": [2, 4], "no item": [3], "no value": [5], "a bad value": [6], "no time": [7], "a bad time": [8],
        "a line that cannot be read": [9],
    }  # fmt: skip


def test_at_most_five_places_are_kept_for_each_reason(stage, write):
    checked = events(stage, write, "u,i,1,5\n" + ",i,1,5\n" * 8 + "u,,1,5\n" * 8)
    assert checked.rejected == {"no user": 8, "no item": 8}
    assert [place.line for place in checked.places["no user"]] == [2, 3, 4, 5, 6]
    assert [place.line for place in checked.places["no item"]] == [10, 11, 12, 13, 14]


def test_fail_stops_at_the_first_bad_row(stage, write):
    with pytest.raises(DataError, match=r"e\.csv line 2: found no item \(user=u, item=\(none\).*--on-bad reject"):
        events(stage, write, "u,i,1,5\nu,,1,5\n,i,1,5\n", ReadOptions(on_bad="fail"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "u,i,good,5\nu,j,bad,5\n",
            r"line 1: found a bad value .*the same in 2 of 2 rows; expected a finite number.*--value-column",
        ),
        ("u,i,1,soon\n", r"found a bad time .*expected ISO 8601.*--time-column.*--time-unit"),
        ("u,i,1,\n", "found no time .*--time-column"),
        ('u,i,1,5\nu,"j,1,5\nu,k,1,5\n', "line 2: found a quote that is never closed.*--quote none"),
    ],
)
def test_a_column_of_the_wrong_type_and_an_open_quote_stop_everything(stage, write, text, message):
    with pytest.raises(DataError, match=message):
        events(stage, write, text)


def test_an_open_quote_is_found_behind_many_broken_lines(stage, write):
    with pytest.raises(DataError, match=r"line 9: found a quote that is never closed"):
        events(stage, write, "u,i,1,5\n" + "short\n" * 7 + 'u,"j,1,5\n' + "u,k,1,5\n" * 3)


def test_a_header_without_rows_is_an_empty_file(stage, write):
    scan = scan_csv(write("e.csv", "user,item\n"), ["user", "item"], header=True)
    stage.add("interactions", f"SELECT * FROM {scan.sql}", scan=scan)
    with pytest.raises(EmptyFileError, match=r"e\.csv: found no rows; expected interactions"):
        take_in(stage, stage.parts[0], ReadOptions())


def test_what_a_source_rejects_or_leaves_out_is_counted_by_its_own_words(stage, write):
    scan = scan_json_lines(write("a.jsonl", '{"u":"a","i":"b"}\noops\n{"u":"c","i":"d"}\n{"u":"e","i":"f"}\n'), ["u", "i"])
    stage.add(
        "interactions",
        "SELECT u AS user, i AS item, CASE WHEN u IS NULL THEN 'not JSON' END AS problem, "
        f"CASE WHEN u = 'c' THEN 'not wanted' END AS skip FROM {scan.sql}",
        scan=scan,
    )
    checked = take_in(stage, stage.parts[0], ReadOptions())
    assert (checked.read, checked.good, checked.rejected, checked.skipped) == (4, 2, {"not JSON": 1}, {"not wanted": 1})
    assert [place.line for place in checked.places["not JSON"]] == [2]


def test_several_rows_of_one_line_are_found_by_ordinal(stage, write):
    scan = scan_csv(write("a.csv", "x,1 2\ny,3 \n"), ["u", "i"])
    numbered = f"(SELECT *, row_number() OVER () - 1 AS ordinal FROM {scan.sql})"
    stage.add("interactions", f"SELECT u AS user, unnest(string_split(i, ' ')) AS item, ordinal FROM {numbered}", scan=scan)
    checked = take_in(stage, stage.parts[0], ReadOptions())
    assert [str(place) for place in checked.places["no item"]] == [f"{scan.path} line 2: user=y, item="]


def test_whole_numbers_as_floats_and_bytes_are_ids_too(stage):
    checked = typed(stage, "SELECT 12::DOUBLE AS user, 'i'::BLOB AS item UNION ALL SELECT 0.5, 'j'::BLOB")
    assert column(stage, checked, "user") == ["12", "0.5"]
    assert column(stage, checked, "item") == ["i", "j"]
    missing = typed(stage, "SELECT 'nan'::DOUBLE AS user, 1 AS item UNION ALL SELECT 3, 2")
    assert missing.rejected == {"no user": 1}


def test_a_part_with_other_columns_is_a_mistake_of_the_source(stage):
    with pytest.raises(ValueError, match=r"lacks \['item'\] and has unknown columns \['thing'\]"):
        stage.add("interactions", "SELECT 'u' AS user, 'i' AS thing")
    with pytest.raises(ValueError, match="needs a scan, or columns file and line"):
        stage.add("interactions", "SELECT 'u' AS user, 'i' AS item")
