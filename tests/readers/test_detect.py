from __future__ import annotations

import pytest

from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.readers import prepare, read, read_rdf

CLICKS = "user_id,item_id\nu,a\nv,b\n"


def test_a_folder_of_tables_by_name_and_by_columns(tmp_path, write, facts_of):
    write("d/ratings.csv", "userId,movieId,rating\nu,a,3\nv,b,4\n")
    write("d/kg.tsv", "a\tby\tp\nb\tby\tp\n")
    write("d/movies.csv", "movieId,title,genres\na,Alien,Horror\n")
    write("d/anything.csv", "entity_id,label\np,Ann\n")
    write("d/README.txt", "hello\n")
    data = read(tmp_path / "d", attributes=("genres",))
    assert facts_of(data) == {("a", "by", "p"), ("b", "by", "p"), ("a", "genres", "genres:Horror")}
    v = data.vocabulary
    assert v.items.label(0) == "Alien"


def test_files_of_different_formats_together(tmp_path, write, facts_of):
    pytest.importorskip("pyoxigraph", reason="RDF needs the extra `rdf`")
    clicks = write("clicks.csv", "user,item\nu,http://x/a\n")
    kg = write("kg.nt", "<http://x/a> <http://p/by> <http://x/p> .\n")
    assert facts_of(read([clicks, kg])) == facts_of(read_rdf(kg, interactions=clicks)) != set()


def test_a_file_whose_columns_show_nothing(write):
    with pytest.raises(DataError, match=r"line 1: found the columns 'x', 'y'; .*--interactions FILE"):
        read(write("a.csv", "x,y\n1,2\n"))


def test_a_folder_that_shows_nothing(tmp_path, write):
    with pytest.raises(DataError, match="found an empty folder; expected a KGAT folder"):
        read(tmp_path)
    write("photo.jpg", "x")
    with pytest.raises(DataError, match=r"found the files photo\.jpg; expected a KGAT folder"):
        read(tmp_path)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="gone: found no such file or folder"):
        read(tmp_path / "gone")
    with pytest.raises(DataError, match=r"gone\.csv: found no such file"):
        read(interactions=tmp_path / "gone.csv")


def test_the_format_can_be_said_and_is_checked(write, pairs_of):
    path = write("clicks.inter", CLICKS)
    assert pairs_of(read(path, format="table")) == {("u", "a"), ("v", "b")}
    with pytest.raises(ConfigError, match="option format: found 'csv'; expected one of auto, kgat"):
        read(path, format="csv")
    with pytest.raises(ConfigError, match="input: found no file"):
        read()


def test_a_prepared_data_set_is_not_prepared_again(tmp_path, write):
    prepare(interactions=write("clicks.csv", CLICKS), out=tmp_path / "out")
    with pytest.raises(DataError, match="a data set that is already prepared"):
        prepare(tmp_path / "out", out=tmp_path / "again")


def test_paper_rules_need_the_papers_raw_data(write):
    with pytest.raises(ConfigError, match="option paper: found input of format 'table'"):
        read(write("clicks.csv", CLICKS), paper=True)
    with pytest.raises(ConfigError, match="option paper: found no KGAT release"):
        read(write("ratings_Books.csv", "A,1,5,1400000000\n"), paper=True)


def test_every_step_is_told(tmp_path, write):
    steps = []
    prepare(interactions=write("clicks.csv", CLICKS), out=tmp_path / "out", step=steps.append)
    assert steps[0] == "reading clicks.csv"
    assert steps[-1] == "writing the tables"


def test_a_folder_of_films_as_it_is_published(tmp_path, write, pairs_of, facts_of):
    """Tags are no clicks where a file of ratings lies beside them, and links to other sites are no links to entities."""
    write("m/ratings.csv", "userId,movieId,rating,timestamp\n1,1,4,964982703\n1,3,4,964981247\n")
    write("m/movies.csv", "movieId,title,genres\n1,Toy,A|B\n3,X,A\n")
    write("m/tags.csv", "userId,movieId,tag,timestamp\n2,3,funny,1445714994\n")
    write("m/links.csv", "movieId,imdbId,tmdbId\n1,0114709,862\n3,1,2\n")
    report = prepare(tmp_path / "m", separator="|", out=tmp_path / "out")
    data = Dataset.load(tmp_path / "out")
    assert pairs_of(data) == {("1", "1"), ("1", "3")}
    assert {relation for _, relation, _ in facts_of(data)} == {"genres", "imdbId", "tmdbId"}
    (told,) = [finding for finding in report.findings if finding.what.startswith("tags.csv is not read")]
    assert told.places == ["it also has tag"]


def test_files_of_clicks_are_all_read_whatever_they_are_called(tmp_path, write, pairs_of):
    write("d/ratings.csv", "userId,movieId,rating\n1,1,4\n")
    write("d/ratings_test.csv", "userId,movieId,rating\n2,1,4\n")
    write("d/more.csv", "user_id,item_id\n3,1\n")
    assert pairs_of(read(tmp_path / "d")) == {("1", "1"), ("2", "1"), ("3", "1")}
    write("e/ratings.dat", "1::1::4::978300760\n")
    write("e/more.csv", "user,item\n2,1\n")
    write("e/mykg.csv", "head,relation,tail\n1,by,p\n")
    assert pairs_of(read(tmp_path / "e")) == {("1", "1"), ("2", "1")}
    write("e/events.csv", "")
    with pytest.raises(DataError, match=r"events\.csv: found an empty file"):
        read(tmp_path / "e")


def test_a_file_that_is_named_keeps_its_role_and_says_what_it_lacks(tmp_path, write):
    write("d/clicks.csv", CLICKS)
    write("d/ratings.csv", "nick,movieId,rating\ncid,a,5\n")
    with pytest.raises(DataError, match=r"ratings\.csv line 1: .*expected a user column.*--user-column"):
        read(tmp_path / "d")


def test_names_of_items_make_no_item(tmp_path, write):
    write("d/clicks.csv", CLICKS)
    write("d/labels.csv", "item_id,label,lang\na,Alien,en\nc,Cube,en\n")
    data = read(tmp_path / "d")
    assert data.vocabulary.items.ids([0, 1]) == ["a", "b"]
    assert (len(data.vocabulary.items), len(data.vocabulary.relations), data.vocabulary.items.label(0)) == (2, 0, "Alien")
