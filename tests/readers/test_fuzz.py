"""Damaged input of every format: either an account that adds up, or one of our errors. Never another exception."""

from __future__ import annotations

import gzip
import io
import random
import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.data import Dataset
from metakg.errors import MetakgError
from metakg.readers import prepare, validate

CLICKS = b"user,item,rating,time\n" + b"".join(b"u%d,i%d,%d,%d\n" % (n % 5, n % 7, n % 5 + 1, 10**9 + n) for n in range(30))
TRIPLES = b"head\trelation\ttail\n" + b"".join(b"i%d\tr%d\te%d\n" % (n % 7, n % 2, n % 3) for n in range(20))


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"user": ["a", "b", None], "item": [1, 2, 3], "time": [1.5, float("nan"), 3.0]}), buffer)
    return buffer.getvalue()


KGAT = {
    "kg_final.txt": b"0 0 3\n1 0 3\n2 1 4\n",
    "entity_list.txt": b"org_id remap_id\nm.a 0\nm.b 1\nm.c 2\nm.d 3\nm.e 4\n",
    "item_list.txt": b"org_id remap_id freebase_id\n7 0 m.a\n8 1 m.b\n9 2 m.c\n",
    "relation_list.txt": b"org_id remap_id\nhttp://x/r 0\nhttp://x/s 1\n",
    "user_list.txt": b"org_id remap_id\n70 0\n71 1\n",
    "train.txt": b"0 0 1 2\n1 2\n",
}
ATOMIC = {
    "x.inter": b"user_id:token\titem_id:token\ttimestamp:float\n1\t7\t881250949\n2\t8\t881250950\n",
    "x.kg": b"head_id:token\trelation_id:token\ttail_id:token\nm.a\tr\tm.x\n",
    "x.link": b"item_id:token\tentity_id:token\n7\tm.a\n",
    "x.item": b"item_id:token\ttitle:token_seq\tclass:token_seq\n7\tA b\tX Y\n",
    "x.user": b"user_id:token\tage:token\n1\t24\n",
    "labels.tsv": b"m.x\tName\n",
}
JSON = b"".join(
    b'{"user_id": "u%d", "item_id": %d, "timestamp": "2020-01-0%d"}\n' % (n % 3, n % 4, n % 9 + 1) for n in range(15)
)
ATTRIBUTES = b'id,title,genre,year\na,"Alien, the film",Horror|War,1979\nb,Brazil,,1985\n'
NT = b'<http://x/1> <http://p/a> <http://x/2> .\n<http://x/2> <http://www.w3.org/2000/01/rdf-schema#label> "Two"@en .\n' * 3
TTL = b'@prefix x: <http://x/> .\nx:1 x:p x:2 , "lit"@en ; x:q [ x:p x:3 ] .\n'
CASES: dict[str, dict[str, bytes]] = {
    "csv": {"clicks.csv": CLICKS},
    "csv.gz": {"clicks.csv.gz": gzip.compress(CLICKS)},
    "json lines": {"clicks.jsonl": JSON},
    "parquet": {"clicks.parquet": parquet()},
    "triples": {"clicks.csv": CLICKS, "kg.tsv": TRIPLES},
    "links": {"clicks.csv": CLICKS, "kg.tsv": TRIPLES, "links.csv": b"item,entity\ni1,e1\ni2,e2\n"},
    "attributes": {"clicks.csv": b"user,item\nu,a\nv,b\n", "items.csv": ATTRIBUTES, "users.csv": b"user,age\nu,20\nv,x\n"},
    "labels": {"clicks.csv": CLICKS, "labels.csv": b"kind,id,label\nuser,u1,Ann\nitem,i1,Alien\n"},
    "kgat": KGAT,
    "atomic": ATOMIC,
    "n-triples": {"clicks.csv": b"user,item\nu,http://x/1\nv,http://x/2\n", "kg.nt": NT},
    "turtle": {"clicks.csv": b"user,item\nu,http://x/1\nv,http://x/2\n", "kg.ttl": TTL},
}
SPICE = [
    b"\0",
    b"\xff\xfe",
    b'"',
    b"\n",
    b"\r",
    b"\t",
    b",",
    b"nan",
    b"\xef\xbb\xbf",
    b"'; DROP",
    b"\xed\xa0\x80",
    b"[",
    b"{",
    b" " * 40,
]


def damage(content: bytes, rng: random.Random) -> bytes:
    """Change a few places: cut, repeat, swap, flip, or put in what often hurts."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(6)
        if what == 0:
            del data[at : at + rng.randint(1, 12)]
        elif what == 1:
            data[at:at] = data[max(0, at - rng.randint(1, 20)) : at]
        elif what == 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 3:
            data[at:at] = rng.choice(SPICE)
        elif what == 4:
            data[at:at] = rng.choice(string.printable).encode()
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def outcome(folder: Path, out: Path, rng: random.Random) -> str:
    """Prepare a folder and check the account; return what became of it."""
    options: dict[str, object] = {"threads": 1}
    if rng.random() < 0.3:
        options["attributes"] = "all"
    try:
        report = prepare(folder, out=out, **options)
    except MetakgError as err:
        text = str(err)
        assert not out.exists(), text
        assert len(text) < 1500, text
        checked = None
    else:
        for tally in report.tallies:
            assert tally.read == tally.kept + tally.lost, tally
        data = Dataset.load(out)
        assert len(data.interactions) == report.counts["interactions"] > 0
        checked = report
    try:
        found = validate(folder, **options)
    except MetakgError:
        return "refused"
    for tally in found.tallies:
        assert tally.read == tally.kept + tally.lost, tally
    if checked is not None:
        assert [tally.to_json() for tally in found.tallies] == [tally.to_json() for tally in checked.tallies]
    return "prepared" if checked is not None else "checked"


def run(case: str, seed: int, folder: Path) -> str:
    if case in ("n-triples", "turtle"):
        pytest.importorskip("pyoxigraph", reason="RDF needs the extra `rdf`")
    rng = random.Random(f"{case}/{seed}")
    files = dict(CASES[case])
    names = sorted(files)
    for name in rng.sample(names, rng.randint(1, min(2, len(names)))):
        files[name] = damage(files[name], rng) if rng.random() < 0.9 else rng.randbytes(rng.randrange(200))
    data = folder / f"{seed}"
    data.mkdir()
    for name, content in files.items():
        (data / name).write_bytes(content)
    return outcome(data, folder / f"{seed}.out", rng)


@pytest.mark.parametrize("case", sorted(CASES))
def test_sound_files_are_prepared(case, tmp_path):
    """Or the tests below would hold for a reader that refuses everything."""
    if case in ("n-triples", "turtle"):
        pytest.importorskip("pyoxigraph", reason="RDF needs the extra `rdf`")
    for name, content in CASES[case].items():
        (tmp_path / name).write_bytes(content)
    report = prepare(tmp_path, out=tmp_path / "out")
    assert report.counts["interactions"] > 0


@pytest.mark.parametrize("case", sorted(CASES))
def test_damaged_files(case, tmp_path):
    outcomes = {run(case, seed, tmp_path) for seed in range(4)}
    assert outcomes <= {"prepared", "checked", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES))
def test_many_damaged_files(case, tmp_path):
    outcomes = [run(case, seed, tmp_path) for seed in range(4, 50)]
    assert "refused" in outcomes
    assert "prepared" in outcomes
