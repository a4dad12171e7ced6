from __future__ import annotations

import gzip
import sys

import pytest

from metakg.errors import ConfigError, DataError
from metakg.readers import read, read_rdf, validate

pytest.importorskip("pyoxigraph", reason="RDF needs the extra `rdf`")

CLICKS = "user,item\nu,http://x/a\nv,http://x/b\n"
NT = """<http://x/a> <http://p/by> <http://x/p> .
# a comment

<http://x/b> <http://p/by> <http://x/p> .
<http://x/a> <http://p/year> "1979"^^<http://www.w3.org/2001/XMLSchema#gYear> .
<http://x/p> <http://www.w3.org/2000/01/rdf-schema#label> "Anne"@fr .
<http://x/p> <http://www.w3.org/2000/01/rdf-schema#label> "Ann"@en .
<http://x/p> <http://www.w3.org/2000/01/rdf-schema#label> "ann" .
<http://p/by> <http://www.w3.org/2000/01/rdf-schema#label> "directed by"@en .
_:n1 <http://p/part> <http://x/a> .
"""
TTL = """@prefix x: <http://x/> . @prefix p: <http://p/> . @prefix s: <https://schema.org/> .
x:a p:by x:p ; p:part [ p:by x:q ] .
x:b p:by x:p .
x:p s:name "Ann"@en, "Анна"@ru .
"""


@pytest.fixture
def clicks(write):
    return write("clicks.csv", CLICKS)


def test_n_triples(clicks, write, facts_of):
    data = read_rdf(write("kg.nt", NT), interactions=clicks)
    assert facts_of(data) == {
        ("http://x/a", "http://p/by", "http://x/p"),
        ("http://x/b", "http://p/by", "http://x/p"),
        ("_:n1", "http://p/part", "http://x/a"),
    }
    v = data.vocabulary
    assert v.entities.label(v.entities.row("http://x/p")) == "Ann"
    assert v.relations.label(v.relations.row("http://p/by")) == "directed by"
    assert data.manifest["rows"]["triples"] == {"read": 8, "kept": 3, "skipped": {"a label": 4, "a literal": 1}}


@pytest.mark.parametrize(("languages", "label"), [(("fr",), "Anne"), (("de", "fr"), "Anne"), (("de",), "ann"), ((), "ann")])
def test_language_preference(clicks, write, languages, label):
    v = read(interactions=clicks, triples=write("kg.nt", NT), languages=languages).vocabulary
    assert v.entities.label(v.entities.row("http://x/p")) == label


def test_literals_can_be_entities(clicks, write, facts_of):
    data = read(interactions=clicks, triples=write("kg.nt", NT), literals="entities")
    year = '"1979"^^<http://www.w3.org/2001/XMLSchema#gYear>'
    assert ("http://x/a", "http://p/year", year) in facts_of(data)
    v = data.vocabulary
    assert v.entities.label(v.entities.row(year)) == "1979"


@pytest.mark.parametrize("packed", [False, True])
def test_turtle_names_anonymous_nodes_in_order(clicks, write, facts_of, packed):
    name, content = ("kg.ttl.gz", gzip.compress(TTL.encode())) if packed else ("kg.ttl", TTL.encode())
    first, second = (facts_of(read(interactions=clicks, triples=write(name, content))) for _ in range(2))
    assert first == second
    assert ("_:b0", "http://p/by", "http://x/q") in first
    assert ("http://x/a", "http://p/part", "_:b0") in first


def test_blank_nodes_of_two_files_are_not_one(clicks, write, facts_of):
    text = "<http://x/a> <http://p/part> _:n .\n_:n <http://p/by> <http://x/{}> .\n"
    files = [write(f"{name}.nt", text.format(name)) for name in "pq"]
    facts = facts_of(read(interactions=clicks, triples=files))
    assert len({head for head, _, tail in facts if tail in ("http://x/p", "http://x/q")}) == 2


def test_lines_that_are_no_triples_are_counted_on_their_line(clicks, write):
    text = NT.replace("# a comment", "<http://x/a> <http://p/by> oops .") + "two triples in no line\n"
    path = write("kg.nt", text)
    tally = next(tally for tally in validate(interactions=clicks, triples=path).tallies if tally.kind == "triples")
    assert tally.rejected == {"not an N-Triples statement": 2}
    assert [place.line for place in tally.places["not an N-Triples statement"]] == [2, 11]
    assert (tally.read, tally.kept) == (10, 3)
    with pytest.raises(DataError, match=r"kg\.nt line 2: found not an N-Triples statement"):
        read(interactions=clicks, triples=path, on_bad="fail")


def test_an_error_in_turtle_names_the_line(clicks, write):
    with pytest.raises(DataError, match=r"kg\.ttl line 5: .*expected Turtle"):
        read(interactions=clicks, triples=write("kg.ttl", TTL + "x:c p:by .\n"))


def test_labels_alone_are_no_facts_and_no_fault(clicks, write):
    text = '<http://x/a> <http://www.w3.org/2000/01/rdf-schema#label> "A" .\n'
    data = read(interactions=clicks, triples=write("kg.nt", text))
    assert len(data.graph.entity) == 0
    assert data.manifest["rows"]["triples"] == {"read": 1, "kept": 0, "skipped": {"a label": 1}}


def test_a_cut_off_file(clicks, write):
    packed = gzip.compress(NT.encode() * 2000)
    with pytest.raises(DataError, match=r"kg\.nt\.gz: found a damaged or cut-off gzip file"):
        read(interactions=clicks, triples=write("kg.nt.gz", packed[: len(packed) // 2]))


def test_without_pyoxigraph_the_message_says_what_to_install(clicks, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoxigraph", None)
    with pytest.raises(ConfigError, match=r'found no module pyoxigraph; .*pip install "\.\[rdf\]"'):
        read(interactions=clicks, triples=write("kg.nt", NT))


def test_blocks_of_lines_give_the_same_as_one_block(clicks, write, monkeypatch, facts_of):
    path = write("kg.nt", NT)
    whole = facts_of(read(interactions=clicks, triples=path))
    monkeypatch.setattr("metakg.readers.rdf._BLOCK_LINES", 2)
    monkeypatch.setattr("metakg.readers.rdf._BATCH", 3)
    assert facts_of(read(interactions=clicks, triples=path)) == whole
