"""`metakg keys` and what `metakg serve` makes of its words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metakg.cli.main import app
from metakg.errors import ConfigError, DataError
from metakg.serve import server
from metakg.serve.auth import Keys


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_new_key_is_shown_once_and_kept_as_its_digest(tmp_path) -> None:
    file = tmp_path / "keys"
    first = json.loads(run("keys", "new", "shop", "--role", "write", "--file", file, "--json"))
    run("keys", "new", "other", "--file", file)
    text = file.read_text()
    assert first["key"] not in text
    assert file.stat().st_mode & 0o077 == 0
    found = Keys.load(file, None).find(first["key"])
    assert found is not None
    assert (found.name, found.role) == ("shop", "write")
    for words in (("shop",), ("x y",), ("boss", "--role", "root")):
        with pytest.raises(ConfigError):
            run("keys", "new", *words, "--file", file)
    assert file.read_text() == text


def test_a_key_file_whose_last_line_does_not_end_keeps_it(tmp_path) -> None:
    file = tmp_path / "keys"
    first = json.loads(run("keys", "new", "shop", "--file", file, "--json"))
    file.write_text(file.read_text().rstrip())
    second = json.loads(run("keys", "new", "other", "--file", file, "--json"))
    keys = Keys.load(file, None)
    assert [keys.find(one["key"]).name for one in (first, second)] == ["shop", "other"]


def test_words_become_settings(tmp_path, monkeypatch) -> None:
    seen: list[server.Settings] = []
    monkeypatch.setattr(server, "run", lambda settings, **_: seen.append(settings))
    key = json.loads(run("keys", "new", "a", "--json"))
    monkeypatch.setenv("METAKG_KEYS", key["line"])
    monkeypatch.setenv("METAKG_STORE", "postgresql://u:secret@h/d")
    run("serve", tmp_path / "bundle", "--host", "0.0.0.0", "--port", 9, "--rate", 7, "--deadline", 2, "--threads", 3)
    monkeypatch.delenv("METAKG_STORE")
    monkeypatch.delenv("METAKG_KEYS")
    run("serve", tmp_path / "bundle")
    first, second = seen
    assert (first.host, first.port, first.store) == ("0.0.0.0", 9, "postgresql://u:secret@h/d")
    assert (first.limits.rate, first.limits.deadline_s, first.limits.threads) == (7, 2, 3)
    assert first.keys.find(key["key"]) is not None
    assert (second.host, second.store, bool(second.keys)) == ("127.0.0.1", str(tmp_path / "store.sqlite"), False)
    with pytest.raises(ConfigError, match="--log-level"):
        run("serve", tmp_path / "bundle", "--log-level", "loud")


def test_a_key_that_cannot_be_made_or_kept_says_why(tmp_path) -> None:
    with pytest.raises(ConfigError, match="--role: found 'wite'; expected read, write or admin"):
        run("keys", "new", "a", "--role", "wite")
    with pytest.raises(DataError, match=r"writing .*: found no such folder"):
        run("keys", "new", "a", "--file", tmp_path / "nowhere" / "keys")
    with pytest.raises(DataError, match=r"writing .*: found a folder; expected a file"):
        run("keys", "new", "a", "--file", tmp_path)


def test_a_certificate_that_cannot_be_used_is_refused_before_anything_listens(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(server, "run", lambda *_, **__: pytest.fail("it serves"))
    (tmp_path / "no.pem").write_text("nothing")
    for words, what in (
        (("--certificate", tmp_path / "nope.pem"), "--certificate: found no file"),
        (
            ("--certificate", tmp_path / "no.pem", "--certificate-key", tmp_path / "nope.pem"),
            "--certificate-key: found no file",
        ),
        (("--certificate-key", tmp_path / "no.pem"), "expected --certificate too"),
        (("--certificate", tmp_path / "no.pem"), "expected a PEM certificate and its key"),
    ):
        with pytest.raises(ConfigError, match=what):
            run("serve", tmp_path / "bundle", *words)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    words = [sys.executable, "-m", "metakg", "data", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "metakg: writing the output: found a full disk; expected free space. Write to another place.\n"


def test_an_empty_list_of_keys_opens_no_door(tmp_path, monkeypatch) -> None:
    """`METAKG_KEYS="$(cat missing)"` is somebody who meant to lock it."""
    monkeypatch.setattr(server, "run", lambda *_, **__: pytest.fail("it was opened"))
    for text in ("", "  "):
        monkeypatch.setenv("METAKG_KEYS", text)
        with pytest.raises(ConfigError, match="keys: found an empty list"):
            run("serve", tmp_path)
