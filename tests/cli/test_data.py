import hashlib
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from metakg import catalogue
from metakg.catalogue.entries import parse
from metakg.cli.data import data
from metakg.errors import DataError

BODY = b"0 0 1\n"
TINY = f"""
[tiny]
title = "Tiny"
purpose = "tests"
page = "https://example.org/"
licence = "Do as you like."
citation = "Nobody 2026"
prepare = "{{folder}} --format kgat"
[[tiny.sources]]
url = "https://example.org/"
files = [
  {{ name = "kg_final.txt", size = {len(BODY)}, checksum = "sha256:{hashlib.sha256(BODY).hexdigest()}" }},
  {{ name = "more.txt", size = "unknown", checksum = "unknown", optional = true, note = "more of it" }},
]
[[tiny.sources]]
steps = ["Ask nicely."]
files = [{{ name = "by_hand.txt", size = "unknown", checksum = "unknown" }}]
"""


@pytest.fixture
def tiny(monkeypatch):
    entries = parse(TINY)
    monkeypatch.setattr(catalogue, "find", entries.__getitem__)
    return entries["tiny"]


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The address of a folder that is served over HTTP."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "mirror"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "kg_final.txt").write_bytes(BODY)
    (folder / "tiny" / "more.txt").write_bytes(b"more")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments):
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_list_names_every_data_set():
    result = run("list")
    assert result.exit_code == 0
    for name in catalogue.catalogue():
        assert name in result.stdout
    as_json = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [entry["name"] for entry in as_json] == list(catalogue.catalogue())


def test_show_gives_licence_citation_checksums_and_steps():
    text = run("show", "ml-100k").stdout
    for part in ("licence:", "cite:", "git-blob:7345003d", "unknown", "1. Open ", "ml-100k.kg", "optional"):
        assert part in text
    assert json.loads(run("show", "ml-100k", "--json").stdout)["name"] == "ml-100k"


def test_an_unknown_name_is_a_data_error():
    result = run("show", "nothing-like-it")
    assert isinstance(result.exception, DataError)


def test_fetch_prints_what_became_of_the_files_and_what_is_left_to_do(tiny, mirror, tmp_path):
    out = tmp_path / "out"
    result = run("fetch", "tiny", "--out", out, "--mirror", mirror)
    assert (out / "kg_final.txt").read_bytes() == BODY
    for part in ("fetched   kg_final.txt", "1. Ask nicely.", f"-> {out}/by_hand.txt", "Do as you like.", "Nobody 2026"):
        assert part in result.stdout
    assert isinstance(result.exception, DataError)
    assert "found no by_hand.txt" in str(result.exception)
    (out / "by_hand.txt").write_text("asked")
    again = run("fetch", "tiny", "--out", out, "--mirror", mirror)
    assert again.exit_code == 0
    assert "present   kg_final.txt" in again.stdout
    assert "Not verified, since nobody published a checksum: by_hand.txt." in again.stdout


def test_fetch_as_json_prints_one_object_and_nothing_else(tiny, mirror, tmp_path):
    result = run("fetch", "tiny", "--out", tmp_path / "out", "--mirror", mirror, "--only", "more.txt", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["missing"] == []
    assert report["unverified"] == ["more.txt"]
    assert report["files"] == [
        {
            "name": "more.txt",
            "status": "fetched",
            "size": 4,
            "sha256": hashlib.sha256(b"more").hexdigest(),
            "vouched_by": "first use",
        }
    ]
