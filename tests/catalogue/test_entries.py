from typing import get_args

import pytest

from metakg.catalogue import catalogue, find
from metakg.catalogue.checksums import Checksum, digests
from metakg.catalogue.entries import parse
from metakg.errors import ConfigError, DataError

ENTRY = """
[tiny]
title = "Tiny"
purpose = "tests"
page = "https://example.org/"
licence = "none"
citation = "none"
prepare = "{folder} --format kgat"
[[tiny.sources]]
url = "https://example.org/files/"
files = [{ name = "a.txt", size = 3, checksum = "unknown" }]
"""


def test_the_catalogue_names_the_papers_data_sets_and_their_raw_files():
    entries = catalogue()
    assert {"last-fm", "amazon-book", "yelp2018", "ml-100k", "amazon-book-reviews", "lfm-1b", "yelp"} <= set(entries)
    assert entries["yelp"].manual
    assert entries["lfm-1b"].manual
    assert not entries["last-fm"].manual
    assert not entries["ml-100k"].manual  # its by-hand files are optional


def test_last_fm_is_whole():
    files = {file.name: file for file in catalogue()["last-fm"].files if not file.optional}
    scenarios = ("meta_training", "warm_up", "user_cold", "item_cold", "user_item_cold")
    expected = {f"test_scenario/{name}_{part}.txt" for name in scenarios for part in ("support", "query")}
    expected |= {"kg_final.txt", "entity_list.txt", "item_list.txt", "relation_list.txt", "user_list.txt"}
    assert set(files) == expected
    assert all(file.expected is not None and file.expected_size is not None for file in files.values())


def test_every_data_set_says_how_to_read_it_in_words_that_the_command_line_knows():
    from typer.main import get_command_from_info
    from typer.models import CommandInfo

    from metakg.cli.prepare import prepare
    from metakg.readers.detect import Format

    info = CommandInfo(name="prepare", callback=prepare)
    command = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
    known = {name for parameter in command.params for name in parameter.opts}
    for entry in catalogue().values():
        words = entry.next_step("/some/folder").split()
        assert words[:2] == ["metakg", "prepare"]
        assert {word for word in words if word.startswith("--")} <= known
        if "--format" in words:
            assert words[words.index("--format") + 1] in get_args(Format)
        assert any("/some/folder" in word for word in words)


@pytest.mark.data
def test_sizes_and_checksums_are_those_of_the_real_files(real_data):
    found = dict.fromkeys(("last-fm", "ml-100k"), 0)
    for name in found:
        for file in catalogue()[name].files:
            path = real_data / name / file.name
            if path.is_file() and file.expected is not None:
                found[name] += 1
                assert path.stat().st_size == file.expected_size, file.name
                assert file.expected.agrees(digests(path, [file.expected.kind])[file.expected.kind]), file.name
    assert found["last-fm"], "no file of the catalogue is there"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"found 'lastfm'.*Did you mean last-fm"):
        find("lastfm")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "a.txt"', 'name = "../a.txt"', "below the data set's folder"),
        ('name = "a.txt"', 'name = "/a.txt"', "below the data set's folder"),
        ('name = "a.txt"', r'name = "c:\\a.txt"', "below the data set's folder"),
        ('checksum = "unknown"', 'checksum = "crc32:00"', "kind must be one of"),
        ('checksum = "unknown"', 'checksum = "md5:00"', "32 lower-case hex digits"),
        ('checksum = "unknown"', 'checksum = "git-blob:0123"', "40 lower-case hex digits"),
        ('checksum = "unknown"', 'checksum = "unknown", unpack = ["../x"]', "without folders"),
        ('checksum = "unknown"', 'checksum = "unknown", unpack = ["a.txt"]', "occurs twice"),
        (', checksum = "unknown"', "", "Field required"),
        ("size = 3, ", "", "Field required"),
        ("size = 3", "size = -1", "greater than or equal"),
        ('title = "Tiny"', 'title = "Tiny"\nsise = 3', "Extra inputs"),
        ('url = "https://example.org/files/"', "", "either a url or the steps"),
        ('url = "https://example.org/files/"', 'url = "ftp://example.org/"', "http or https"),
        ('url = "https://example.org/files/"', 'url = "https://example.org"', "end with a slash"),
        ("[tiny]", "[tiny", "TOML|Expected"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(old, new, message):
    assert old in ENTRY
    parse(ENTRY)
    with pytest.raises(ConfigError, match=message):
        parse(ENTRY.replace(old, new))


def test_digests_are_those_that_the_tools_print(tmp_path):
    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello\n")
    assert digests(path, ["git-blob", "sha256", "md5", "sha1"]) == {
        "git-blob": "ce013625030ba8dba906f756967f9e9ca394464a",  # git hash-object
        "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",  # sha256sum
        "md5": "b1946ac92492d2347c6235b4d2611184",  # md5sum
        "sha1": "f572d396fae9206628714fb2ce00f72e94f2258f",  # sha1sum
    }


def test_a_shortened_blob_id_agrees_with_its_full_form_only():
    short = Checksum.parse("git-blob:ce013625")
    assert short.agrees("ce013625030ba8dba906f756967f9e9ca394464a")
    assert not short.agrees("ce013624030ba8dba906f756967f9e9ca394464a")
    assert str(short) == "git-blob:ce013625"
