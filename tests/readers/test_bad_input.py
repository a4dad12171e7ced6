"""What goes wrong in real life: a clear error with the next step, and nothing half-written."""

from __future__ import annotations

import gzip
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.generator import generate
from metakg.readers import prepare, read

CLICKS = "user,item,rating,time\nu,a,1,100\nv,b,2,200\n"


@pytest.fixture
def clicks(write):
    return write("clicks.csv", CLICKS)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of one megabyte, where mounting is allowed."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def many_clicks(folder, rows=200_000):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    columns = {name: rng.integers(0, 10**9, rows) for name in ("user", "item")}
    pq.write_table(pa.table(columns), folder / "many.parquet")
    return folder / "many.parquet"


def leftovers(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def zstd(text):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "line"), [("clicks.csv.zst", "u{0},i{1}\n"), ("clicks.jsonl.zst", '{{"user":"u{0}","item":"i{1}"}}\n')]
)
def test_a_cut_off_zstandard_file_is_not_taken_for_whole(tmp_path, write, name, line):
    rows = "".join(line.format(n * 7919 % 100_003, n * 104_729 % 99_991) for n in range(30_000))
    packed = zstd(("user,item\n" if name.startswith("clicks.csv") else "") + rows)
    assert len(read(interactions=write(f"whole.{name}", packed)).interactions) == 30_000
    with pytest.raises(DataError, match=r"clicks\.\w+\.zst: found a damaged or cut-off"):
        prepare(interactions=write(name, packed[: len(packed) * 2 // 3]), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_frames_of_zstandard_are_one_file(write):
    assert len(read(interactions=write("clicks.csv.zst", zstd(CLICKS) + zstd("w,c,3,300\n"))).interactions) == 3


@pytest.mark.parametrize(("text", "line"), [("user,item\nu,1\nu,2\r\nv,3\n", 3), ("user,item\r\nu,1\r\nu,2\nv,3\n", 3)])
def test_line_ends_of_two_kinds_are_named_with_their_line(write, text, line):
    with pytest.raises(DataError, match=rf"clicks\.csv line {line}: found a line that ends otherwise than the first"):
        read(interactions=write("clicks.csv", text))


def test_days_that_would_be_taken_for_seconds_of_1970(write):
    path = write("clicks.csv", "user,item,date\nu,1,20240131\nu,2,20240201\nv,3,20240210\n")
    with pytest.raises(DataError, match=r"found times such as 20240131, which look like days; .*--time-format %Y%m%d"):
        read(interactions=path)
    assert read(interactions=path, time_format="%Y%m%d").interactions.times_s.min() == 1706659200
    assert read(interactions=path, time_unit="s").interactions.times_s.min() == 20240131
    assert read(interactions=path, time_format="%Y%m%d", from_time="20240205").interactions.times_s.tolist() == [1707523200]
    with pytest.raises(ConfigError, match="option from_time: found '20241399'"):
        read(interactions=path, time_format="%Y%m%d", from_time="20241399")


def test_a_cut_off_gzip(tmp_path, write):
    packed = gzip.compress((CLICKS + "u,c,1,300\n" * 50_000).encode())
    path = write("clicks.csv.gz", packed[: len(packed) * 2 // 3])
    with pytest.raises(DataError, match=r"clicks\.csv\.gz: found a damaged or cut-off .*gzip") as caught:
        prepare(interactions=path, out=tmp_path / "out")
    assert "again" in caught.value.fix
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_damage_in_the_middle_of_a_gzip(tmp_path, write):
    import numpy as np

    rows = np.random.default_rng(2).integers(0, 10**6, (60_000, 2))
    packed = bytearray(gzip.compress(b"user,item\n" + b"".join(b"%d,%d\n" % tuple(row) for row in rows.tolist())))
    middle = len(packed) * 3 // 4
    packed[middle : middle + 64] = os.urandom(64)
    with pytest.raises(DataError, match=r"clicks\.csv\.gz: found a damaged"):
        prepare(interactions=write("clicks.csv.gz", bytes(packed)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_parquet_file(tmp_path):
    whole = many_clicks(tmp_path, rows=1000).read_bytes()
    damaged = tmp_path / "damaged.parquet"
    for content in (whole[:-20], whole[:4] + b"\0" * 200 + whole[204:], b"PAR1PAR1"):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged\.parquet"):
            read(interactions=damaged)


def test_a_full_disk(tiny_disk, tmp_path):
    many = many_clicks(tmp_path)
    with pytest.raises(DataError, match=r"found a full disk; expected free space\. Free some space"):
        prepare(interactions=many, out=tiny_disk / "out")
    assert list(tiny_disk.iterdir()) == []


def test_a_full_disk_while_spilling(tiny_disk, tmp_path):
    many = many_clicks(tmp_path)
    with pytest.raises(DataError, match=r"writing temporary data: found a full disk.*--spill-to|memory: found too little"):
        prepare(interactions=many, out=tmp_path / "out", memory="20MB", threads=1, spill_to=tiny_disk / "spill")
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_a_disk_that_fills_while_syncing(clicks, tmp_path, monkeypatch):
    import errno

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="found a full disk"):
        prepare(interactions=clicks, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_a_folder_that_may_not_be_written(clicks):
    proc = Path("/proc/metakg-out")  # refuses even the superuser, whom permissions do not stop
    if not proc.parent.is_dir():
        pytest.skip("no /proc on this system")
    with pytest.raises(DataError, match=r"writing /proc/metakg-out: found"):
        prepare(interactions=clicks, out=proc)


def test_a_read_only_file_system(clicks, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(DataError, match=r"found a read-only file system; .*Name another folder"):
            prepare(interactions=clicks, out=folder / "out")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_too_little_memory_says_what_to_raise(tmp_path, write):
    many = many_clicks(tmp_path)
    with pytest.raises(DataError, match=r"memory: found too little for this data; .*--memory"):
        prepare(interactions=many, out=tmp_path / "out", memory="1MB", threads=1)


def test_times_that_are_no_numbers_do_not_decide_the_unit_of_the_others(tmp_path):
    """NaN is above all numbers to the engine: it voted for nanoseconds, and 2020 became 1970."""
    seconds = [math.nan] * 600 + [1_600_000_000.0 + row for row in range(400)]
    table = pa.table({"user": [f"u{row}" for row in range(1000)], "item": ["i"] * 1000, "timestamp": seconds})
    with (tmp_path / "clicks.csv").open("w") as file:
        file.write("user,item,timestamp\n" + "".join(f"u{row},i,{time}\n" for row, time in enumerate(seconds)))
    pq.write_table(table, tmp_path / "clicks.parquet")
    for given in (tmp_path / "clicks.csv", tmp_path / "clicks.parquet", table):
        with pytest.warns(UserWarning, match="a bad time: 600"):
            data = read(interactions=given)
        assert sorted(data.interactions.times_s) == list(range(1_600_000_000, 1_600_000_400))


def test_a_missing_time_is_found_among_equal_ones(tmp_path):
    """A file's statistics leave NaN out, and the engine took their word that all times are one."""
    seconds = [math.nan if row % 100 == 0 else 1.6e9 for row in range(1000)]
    pq.write_table(
        pa.table({"user": [f"u{row}" for row in range(1000)], "item": ["i"] * 1000, "timestamp": seconds}),
        tmp_path / "c.parquet",
    )
    report = prepare(interactions=tmp_path / "c.parquet", out=tmp_path / "out")
    assert report.findings[0].count == 10
    assert len(Dataset.load(tmp_path / "out").interactions) == 990


def test_a_foreign_folder_is_left_alone(clicks, tmp_path, write):
    write("mine/notes.txt", "keep me")
    with pytest.raises(DataError, match="something that metakg did not write"):
        prepare(interactions=clicks, out=tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    write("bundle/manifest.json", '{"kind": "bundle"}')
    with pytest.raises(DataError, match="a folder of kind 'bundle'; expected a new folder, or one of kind 'dataset'"):
        prepare(interactions=clicks, out=tmp_path / "bundle", overwrite=True)
    with pytest.raises(DataError, match="a folder of kind 'bundle'"):
        generate(tmp_path / "bundle", "demo", 1, overwrite=True)


def test_a_failed_run_leaves_the_earlier_result(clicks, tmp_path, write):
    prepare(interactions=clicks, out=tmp_path / "out")
    with pytest.raises(DataError):
        prepare(interactions=write("bad.csv", "user,item\n,\n"), out=tmp_path / "out", overwrite=True)
    assert len(Dataset.load(tmp_path / "out", verify=True).interactions) == 2
    assert not leftovers(tmp_path)


def test_a_killed_run_leaves_nothing_that_looks_whole_and_runs_again(tmp_path):
    many = many_clicks(tmp_path, rows=1_500_000)
    program = "import sys; from metakg.readers import prepare; prepare(interactions=sys.argv[1], out=sys.argv[2], threads=1)"
    child = subprocess.Popen([sys.executable, "-c", program, str(many), str(tmp_path / "out")])
    deadline = time.monotonic() + 60
    while not leftovers(tmp_path) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.005)
    assert child.poll() is None, "the run ended before it could be killed; give it more rows"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "out").exists()
    for stale in leftovers(tmp_path):
        os.utime(stale, (0, 0))  # as if the run had been killed a while ago
    small = tmp_path / "small.csv"
    small.write_text(CLICKS)
    prepare(interactions=small, out=tmp_path / "out")
    assert len(Dataset.load(tmp_path / "out", verify=True).interactions) == 2
    assert not leftovers(tmp_path), "what the killed run left is swept up by the next"


def test_a_run_at_work_is_not_swept_up_by_another(clicks, tmp_path):
    from metakg.files import atomic_folder

    with atomic_folder(tmp_path / "out") as working:
        os.utime(working, (0, 0))
        prepare(interactions=clicks, out=tmp_path / "elsewhere")
        with atomic_folder(tmp_path / "out") as second:
            assert working.is_dir()
            (second / "manifest.json").write_text("{}")
        assert working.is_dir()
        (tmp_path / "out" / "manifest.json").unlink()
        (tmp_path / "out").rmdir()


def test_ctrl_c_is_an_interrupt_and_leaves_nothing(tmp_path):
    many = many_clicks(tmp_path, rows=1_500_000)
    # A shell that starts us in the background lets us ignore Ctrl-C; the person at the terminal does not.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    work = "import sys; from metakg.readers import prepare; prepare(interactions=sys.argv[1], out=sys.argv[2], threads=1)"
    program = listen + work
    child = subprocess.Popen([sys.executable, "-c", program, str(many), str(tmp_path / "out")], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not leftovers(tmp_path) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.005)
    assert child.poll() is None, "the run ended before it could be interrupted; give it more rows"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode != 0
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_a_spill_folder_that_may_not_be_written(clicks, tmp_path, write):
    with pytest.raises(DataError, match=r"writing .*notes\.txt: found"):
        prepare(interactions=clicks, out=tmp_path / "out", spill_to=write("notes.txt", "x"))
    prepare(interactions=clicks, out=tmp_path / "out", spill_to=tmp_path / "spill")
    assert list((tmp_path / "spill").iterdir()) == []
