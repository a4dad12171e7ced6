import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from metakg import catalogue
from metakg.catalogue import download
from metakg.catalogue.download import Patience
from metakg.catalogue.entries import Entry, RemoteFile, Source
from metakg.catalogue.fetch import LOCK
from metakg.errors import DataError

BODY = bytes(range(256)) * 4096  # 1 MiB, so that a cut can fall between two chunks
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()


def cut_after(count: int):
    """Announce the whole body, send `count` bytes of it, and hang up."""
    return lambda handler, body: handler.answer(200, body[:count], length=len(body))


def status(code: int, **headers: str):
    """Answer with a status and nothing else."""
    return lambda handler, _: handler.answer(code, b"", {name.replace("_", "-"): text for name, text in headers.items()})


NOTHING_TO_WAIT_FOR = Patience(pause_s=0.0, attempts=3, sleep=lambda _: None)


def entry(site, *files: RemoteFile, name: str = "tiny", steps: tuple[str, ...] = ()) -> Entry:
    source = Source(url=None if steps else site.url, files=files, steps=steps)
    return Entry(
        name=name,
        title="T",
        purpose="p",
        page="https://x/",
        licence="l",
        citation="c",
        prepare="{folder} --format kgat",
        sources=(source,),
    )


def file(name: str = "a.bin", **fields) -> RemoteFile:
    return RemoteFile(**{"name": name, "size": len(BODY), "checksum": SHA, **fields})


def fetch(entry, folder, **options):
    return catalogue.fetch(entry, folder, **{"patience": NOTHING_TO_WAIT_FOR, **options})


def left_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_plain(site, tmp_path):
    site.pages["deep/a.bin"] = BODY
    told = []
    report = fetch(entry(site, file("deep/a.bin")), tmp_path, progress=lambda *call: told.append(call))
    assert (tmp_path / "deep/a.bin").read_bytes() == BODY
    assert left_in(tmp_path) == {"deep/a.bin", LOCK}
    [found] = report.files
    assert (found.status, found.size, found.vouched_by, found.verified) == ("fetched", len(BODY), SHA, True)
    assert told[0] == ("deep/a.bin", 0, len(BODY))
    assert told[-1] == ("deep/a.bin", len(BODY), len(BODY))
    assert report.missing == report.unverified == []


def test_what_is_there_and_right_is_not_fetched_again(site, tmp_path):
    site.pages["a.bin"] = BODY
    fetch(entry(site, file()), tmp_path)
    report = fetch(entry(site, file()), tmp_path)
    assert report.files[0].status == "present"
    assert len(site.seen) == 1


def test_what_is_there_and_wrong_is_replaced_only_by_what_is_right(site, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    site.pages["a.bin"] = b"x" * len(BODY)
    with pytest.raises(DataError, match=r"found sha256:[0-9a-f]{64}; expected sha256:"):
        fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert left_in(tmp_path) == {"a.bin"}
    site.pages["a.bin"] = BODY
    assert fetch(entry(site, file()), tmp_path).files[0].status == "fetched"
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("validator", ['"v1"', None])
def test_a_cut_connection_is_resumed(site, tmp_path, validator):
    site.validator = validator
    site.pages["a.bin"] = BODY
    site.faults["a.bin"] = [cut_after(300_000), status(503)]
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert site.seen == [
        ("a.bin", None, None),
        ("a.bin", "bytes=300000-", validator),
        ("a.bin", "bytes=300000-", validator),
    ]


def test_without_validator_and_without_checksum_nothing_is_resumed(site, tmp_path):
    site.validator = None
    site.pages["a.bin"] = BODY
    site.faults["a.bin"] = [cut_after(300_000)]
    fetch(entry(site, file(checksum="unknown")), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [wanted for _, wanted, _ in site.seen] == [None, None]


def test_a_server_without_ranges_starts_afresh(site, tmp_path):
    site.ranges = False
    site.pages["a.bin"] = BODY
    site.faults["a.bin"] = [cut_after(700_000), cut_after(300_000)]
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_file_that_changed_between_two_runs_is_not_stitched(site, tmp_path):
    site.pages["a.bin"] = b"o" * len(BODY)
    site.faults["a.bin"] = [cut_after(300_000)] + [status(503)] * 3
    unknown = file(checksum="unknown")
    with pytest.raises(DataError, match="HTTP 503, at the last of 3 attempts"):
        fetch(entry(site, unknown), tmp_path)
    site.pages["a.bin"], site.validator = BODY, '"v2"'
    fetch(entry(site, unknown), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert site.seen[-1] == ("a.bin", "bytes=300000-", '"v1"')  # the server saw the old validator and sent all


def test_a_resumed_download_that_turns_out_wrong_is_fetched_once_more_from_the_start(site, tmp_path):
    site.validator = None  # the server cannot tell that the half we have is another file's
    site.pages["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(b"o" * 300_000)
    (tmp_path / "a.bin.part.json").write_text(json.dumps({"url": site.url + "a.bin", "validator": None}))
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [wanted for _, wanted, _ in site.seen] == ["bytes=300000-", None]


def test_a_part_of_unknown_origin_is_not_built_upon(site, tmp_path):
    site.pages["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(b"o" * 300_000)
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert site.seen == [("a.bin", None, None)]


def test_a_part_longer_than_the_file_is_thrown_away(site, tmp_path):
    site.pages["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    (tmp_path / "a.bin.part.json").write_text(json.dumps({"url": site.url + "a.bin", "validator": '"v1"'}))
    fetch(entry(site, file(size="unknown")), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_server_that_resumes_at_the_wrong_place_is_an_error(site, tmp_path):
    site.pages["a.bin"] = BODY
    elsewhere = {"Content-Range": f"bytes 5-{len(BODY) - 1}/{len(BODY)}"}
    site.faults["a.bin"] = [cut_after(300_000), lambda handler, body: handler.answer(206, body[5:], elsewhere)]
    with pytest.raises(DataError, match="expected the bytes from 300000"):
        fetch(entry(site, file()), tmp_path)


def test_a_truncated_body_is_never_taken_for_the_file(site, tmp_path):
    site.pages["a.bin"] = BODY
    site.ranges = False
    site.faults["a.bin"] = [cut_after(1000)] * 9
    with pytest.raises(DataError, match=r"a body of 1,000 of 1,048,576 bytes, at the last of 3 attempts"):
        fetch(entry(site, file(size="unknown", checksum="unknown")), tmp_path)
    assert left_in(tmp_path) == {"a.bin.part", "a.bin.part.json"}


def test_a_wrong_size_is_said_before_the_body_is_read(site, tmp_path):
    site.pages["a.bin"] = BODY
    with pytest.raises(DataError, match=r"found 1,048,576 bytes; expected 7 bytes"):
        fetch(entry(site, file(size=7)), tmp_path)
    assert left_in(tmp_path) == set()


def test_not_found(site, tmp_path):
    with pytest.raises(DataError, match=r"a\.bin: found HTTP 404 Not Found; expected the file\. .*mirror"):
        fetch(entry(site, file()), tmp_path)
    assert len(site.seen) == 1
    assert left_in(tmp_path) == set()


def test_files_before_the_error_stay(site, tmp_path):
    site.pages["a.bin"] = BODY
    both = entry(site, file(), file("b.bin"))
    with pytest.raises(DataError, match="404"):
        fetch(both, tmp_path)
    site.pages["b.bin"] = BODY
    assert [found.status for found in fetch(both, tmp_path).files] == ["present", "fetched"]


def test_pauses_double_and_the_server_may_ask_for_longer_ones(site, tmp_path):
    pauses: list[float] = []
    site.pages["a.bin"] = BODY
    site.faults["a.bin"] = [status(503), status(503), status(429, Retry_After="7")]
    site.faults["a.bin"] += [status(503, Retry_After="9999")]
    fetch(entry(site, file()), tmp_path, patience=Patience(pause_s=1.0, longest_pause_s=60.0, sleep=pauses.append))
    assert pauses == [1.0, 2.0, 7.0, 60.0]


def test_an_attempt_that_brings_bytes_does_not_count(site, tmp_path):
    site.pages["a.bin"] = BODY

    def some_more(handler, body):
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        piece = body[start : start + 100_000]
        span = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        handler.answer(206 if start else 200, piece, span, length=len(body) - start)

    site.faults["a.bin"] = [some_more] * 9
    fetch(entry(site, file()), tmp_path, patience=Patience(attempts=2, sleep=lambda _: None))
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert len(site.seen) == 10


def test_nobody_listening(tmp_path, site):
    away = Source(url="http://127.0.0.1:9/", files=(file(),))
    lost = entry(site, file()).model_copy(update={"sources": (away,)})
    with pytest.raises(DataError, match=r"no connection .* at the last of 3 attempts.*again later"):
        fetch(lost, tmp_path)


@pytest.mark.parametrize("elsewhere", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_to_something_else_than_http_is_refused(site, tmp_path, elsewhere):
    site.faults["a.bin"] = [status(302, Location=elsewhere)]
    with pytest.raises(DataError, match="expected an http or https address"):
        fetch(entry(site, file()), tmp_path)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_http_is_followed(site, tmp_path, code):
    site.pages["there.bin"] = BODY
    site.faults["a.bin"] = [status(code, Location="/there.bin")]
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_redirect_in_a_circle_ends(site, tmp_path):
    site.faults["a.bin"] = [status(302, Location="/a.bin")] * 30
    with pytest.raises(DataError, match="HTTP 302"):
        fetch(entry(site, file()), tmp_path)


def test_https_never_falls_back_to_http():
    handler = download._HttpOnly()
    request = download.urllib.request.Request("https://example.org/a")
    with pytest.raises(DataError, match="expected https all the way"):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://example.org/a")


def test_a_mirror_is_asked_for_data_set_and_file(site, tmp_path):
    site.pages["copy/tiny/deep/a.bin"] = BODY
    fetch(entry(site, file("deep/a.bin")), tmp_path, mirror=f"{site.url}copy/")
    assert [path for path, _, _ in site.seen] == ["copy/tiny/deep/a.bin"]
    with pytest.raises(DataError, match="http or https"):
        fetch(entry(site, file("b.bin")), tmp_path, mirror="file:///tmp")


def test_a_recompressed_body_is_refused_unless_the_file_is_a_gzip_file(site, tmp_path):
    def labelled(handler, body):
        handler.answer(200, body, {"Content-Encoding": "gzip"})

    site.pages |= {"a.bin": BODY, "a.gz": BODY}
    site.faults |= {"a.bin": [labelled], "a.gz": [labelled]}
    with pytest.raises(DataError, match="a body in encoding 'gzip'"):
        fetch(entry(site, file()), tmp_path)
    fetch(entry(site, file("a.gz")), tmp_path)
    assert (tmp_path / "a.gz").read_bytes() == BODY


# Trust on first use


def test_without_a_checksum_the_first_download_is_remembered(site, tmp_path):
    site.pages["a.bin"] = BODY
    unknown = entry(site, file(size="unknown", checksum="unknown"))
    first = fetch(unknown, tmp_path)
    assert first.unverified == ["a.bin"]
    lock = json.loads((tmp_path / LOCK).read_text())
    assert lock["files"]["a.bin"] | {"seen": ""} == {
        "sha256": SHA.removeprefix("sha256:"),
        "size": len(BODY),
        "url": site.url + "a.bin",
        "vouched_by": "first use",
        "seen": "",
    }
    site.pages["a.bin"] = b"another"
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DataError, match=r"as at the first download.*--accept-new"):
        fetch(unknown, tmp_path)
    assert left_in(tmp_path) == {LOCK}
    fetch(unknown, tmp_path, accept_new=True)
    assert (tmp_path / "a.bin").read_bytes() == b"another"
    assert fetch(unknown, tmp_path).files[0].status == "present"


def test_a_file_damaged_on_disk_is_fetched_again_and_compared_with_the_first_download(site, tmp_path):
    site.pages["a.bin"] = BODY
    unknown = entry(site, file(checksum="unknown"))
    fetch(unknown, tmp_path)
    (tmp_path / "a.bin").write_bytes(BODY[:-1] + b"!")
    assert fetch(unknown, tmp_path).files[0].status == "fetched"
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_accept_new_never_overrules_a_published_checksum(site, tmp_path):
    site.pages["a.bin"] = b"x" * len(BODY)
    with pytest.raises(DataError, match="expected sha256:"):
        fetch(entry(site, file()), tmp_path, accept_new=True)


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ('{"format": 1, "name": "other", "files": {}}', "a folder for 'tiny'"),
        ('{"format": 2, "name": "tiny", "files": {}}', "found format 2"),
        ('{"format": 1, "name": "tiny"}', "format 1"),
        ("[]", "a JSON list"),
        ("{", "text that is not JSON"),
    ],
)
def test_a_foreign_or_damaged_lock_file_stops_before_anything_is_written(site, tmp_path, lock, message):
    site.pages["a.bin"] = BODY
    (tmp_path / LOCK).write_text(lock)
    with pytest.raises(DataError, match=message):
        fetch(entry(site, file()), tmp_path)
    assert left_in(tmp_path) == {LOCK}


# Choosing files, and files that a person must get


def test_only_and_optional(site, tmp_path):
    site.pages |= {"a.bin": BODY, "b.bin": BODY}
    both = entry(site, file(), file("b.bin", optional=True))
    assert [found.name for found in fetch(both, tmp_path / "1").files] == ["a.bin"]
    assert [found.name for found in fetch(both, tmp_path / "2", optional=True).files] == ["a.bin", "b.bin"]
    assert [found.name for found in fetch(both, tmp_path / "3", only=["b.bin"]).files] == ["b.bin"]
    with pytest.raises(DataError, match=r"no file 'c\.bin'; expected one of a\.bin, b\.bin"):
        fetch(both, tmp_path / "4", only=["c.bin"])


def test_files_by_hand_are_named_then_checked(site, tmp_path):
    manual = entry(site, file(), file("b.bin", optional=True), steps=("Ask.",))
    report = fetch(manual, tmp_path)
    assert [(found.name, found.status) for found in report.files] == [("a.bin", "missing"), ("b.bin", "missing")]
    assert report.missing == ["a.bin"]
    (tmp_path / "a.bin").write_bytes(b"wrong")
    with pytest.raises(DataError, match=r"found 5 bytes; expected 1,048,576 bytes.*damaged copy"):
        fetch(manual, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"wrong"
    (tmp_path / "a.bin").write_bytes(BODY)
    assert [found.status for found in fetch(manual, tmp_path).files] == ["present", "missing"]
    assert site.seen == []


# Archives


def archive(members: dict[str, bytes], **info) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, body in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(member, key, value)
            opened.writestr(member, body)
    return packed.getvalue()


def zipped(name="kg.zip", **fields) -> RemoteFile:
    return RemoteFile(**{"name": name, "size": "unknown", "checksum": "unknown", "unpack": ("kg.txt",), **fields})


def test_members_are_unpacked_beside_the_archive_and_kept_right(site, tmp_path):
    site.pages["deep/kg.zip"] = archive({"some/kg.txt": b"1 2 3\n", "__MACOSX/._kg.txt": b"junk", "other.txt": b""})
    packed = entry(site, zipped("deep/kg.zip"))
    report = fetch(packed, tmp_path)
    assert [(found.name, found.status) for found in report.files] == [("deep/kg.zip", "fetched"), ("deep/kg.txt", "unpacked")]
    assert left_in(tmp_path) == {"deep/kg.zip", "deep/kg.txt", LOCK}
    (tmp_path / "deep/kg.txt").write_bytes(b"damaged")
    assert [found.status for found in fetch(packed, tmp_path).files] == ["present", "unpacked"]
    assert (tmp_path / "deep/kg.txt").read_bytes() == b"1 2 3\n"
    assert [found.status for found in fetch(packed, tmp_path).files] == ["present", "present"]


@pytest.mark.parametrize("evil", ["../kg.txt", "/tmp/kg.txt", "a/../../kg.txt", "..\\kg.txt", "C:/kg.txt"])
def test_an_archive_that_points_outside_is_refused(site, tmp_path, evil):
    site.pages["kg.zip"] = archive({"kg.txt": b"1 2 3\n", evil: b"gotcha"})
    with pytest.raises(DataError, match="points outside the folder"):
        fetch(entry(site, zipped()), tmp_path / "inner")
    assert left_in(tmp_path) == {"inner/kg.zip", f"inner/{LOCK}"}


def test_a_symbolic_link_in_an_archive_is_refused(site, tmp_path):
    site.pages["kg.zip"] = archive({"kg.txt": b"/etc/hostname"}, external_attr=0o120777 << 16)
    with pytest.raises(DataError, match="points outside the folder"):
        fetch(entry(site, zipped()), tmp_path)


def test_a_bomb_is_stopped_by_what_it_unpacks_to(tmp_path):
    from metakg.catalogue.archive import unpack

    path = tmp_path / "bomb.zip"
    path.write_bytes(archive({"kg.txt": b"0" * 5_000_000}))
    with pytest.raises(DataError, match="unpacks to more than 1,000,000 bytes"):
        unpack(path, ["kg.txt"], tmp_path, largest=1_000_000)
    assert left_in(tmp_path) == {"bomb.zip"}


def test_other_archives_than_expected(site, tmp_path):
    pages = {
        "found 0 members called 'kg.txt'": archive({"else.txt": b""}),
        "found 2 members called 'kg.txt'": archive({"a/kg.txt": b"1", "b/kg.txt": b"2"}),
        "a damaged zip archive": b"this is no archive",
        "a damaged zip archive ": archive({"kg.txt": bytes(range(256)) * 20})[:-30],
    }
    for number, (message, body) in enumerate(pages.items()):
        site.pages["kg.zip"] = body
        with pytest.raises(DataError, match=message.strip()):
            fetch(entry(site, zipped()), tmp_path / str(number))
        assert not (tmp_path / str(number) / "kg.txt").exists()


# Disks and killed runs


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to stand for a full disk")
def test_a_full_disk(site, tmp_path):
    site.pages["a.bin"] = BODY
    (tmp_path / "a.bin.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"a full disk; expected 1,048,576 bytes in all\. Free some space .* where it stopped"):
        fetch(entry(site, file()), tmp_path)
    assert not (tmp_path / "a.bin").exists()
    (tmp_path / "a.bin.part").unlink()
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_disk_that_fills_up_keeps_what_was_received(site, tmp_path, monkeypatch):
    site.pages["a.bin"] = BODY
    real_open = Path.open

    class Filling:
        def __init__(self, handle):
            self.handle, self.room = handle, 600_000

        def write(self, chunk):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = self.handle.write(chunk[: self.room])
            self.room -= count
            return count

        def __getattr__(self, name):
            return getattr(self.handle, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.handle.close()

    def opening(path, *args, **kwargs):
        handle = real_open(path, *args, **kwargs)
        return Filling(handle) if path.name == "a.bin.part" and args[0] != "rb" else handle

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opening)
        with pytest.raises(DataError, match="a full disk"):
            fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin.part").stat().st_size == 600_000
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert site.seen[-1] == ("a.bin", "bytes=600000-", '"v1"')


def test_what_cannot_fit_is_refused_before_the_first_byte(site, tmp_path, monkeypatch):
    site.pages["a.bin"] = BODY
    usage = download.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"found 10 bytes free; expected 1,048,576 bytes"):
        fetch(entry(site, file()), tmp_path)
    assert left_in(tmp_path) == set()


def test_a_folder_that_is_a_file(site, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=f"writing {tmp_path / 'out'}"):
        fetch(entry(site, file()), tmp_path / "out")


def test_two_runs_do_not_share_a_folder(site, tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="folders are locked with flock only")
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run that is fetching into it"):
            fetch(entry(site, file()), tmp_path)
    finally:
        os.close(handle)


KILLED = """
import sys
from metakg import catalogue
from metakg.catalogue.entries import parse
entry = parse(sys.argv[1])["tiny"]
catalogue.fetch(entry, sys.argv[2])
"""


def test_a_killed_run_goes_on_where_it_stopped(site, tmp_path):
    site.pages["a.bin"] = BODY
    received = tmp_path / "a.bin.part"

    def stalls(handler, body):
        handler.send_response(200)
        handler.send_header("ETag", '"v1"')
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: 1 << 19])
        handler.wfile.flush()
        while not killed:
            time.sleep(0.01)
        handler.close_connection = True

    killed = []
    site.faults["a.bin"] = [stalls]
    tiny = entry(site, file())
    toml = (
        '[tiny]\ntitle="T"\npurpose="p"\npage="p"\nlicence="l"\ncitation="c"\nprepare="{folder}"\n[[tiny.sources]]\n'
        f'url="{site.url}"\nfiles=[{{name="a.bin",size={len(BODY)},checksum="{SHA}"}}]\n'
    )
    run = subprocess.Popen([sys.executable, "-c", KILLED, toml, str(tmp_path)])
    try:
        deadline = time.monotonic() + 30
        while not (received.is_file() and received.stat().st_size == 1 << 19):
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    finally:
        run.kill()
        run.wait()
        killed.append(True)
    assert not (tmp_path / "a.bin").exists()
    fetch(tiny, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert site.seen[-1] == ("a.bin", f"bytes={1 << 19}-", '"v1"')
    assert left_in(tmp_path) == {"a.bin", LOCK}


def test_a_run_killed_between_the_last_byte_and_the_renaming_asks_for_nothing(site, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY)
    (tmp_path / "a.bin.part.json").write_text(json.dumps({"url": site.url + "a.bin", "validator": '"v1"'}))
    fetch(entry(site, file()), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert site.seen == []
