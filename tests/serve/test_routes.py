"""What can be asked, in the shapes that the page and other clients rely on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from metakg.engine import Engine
from metakg.models.metakg import MetaKG, MetaKGConfig
from metakg.rng import torch_generator
from metakg.serve.answers import Kept, Made
from metakg.serve.auth import Keys, new_key
from metakg.testing import toy_view


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def get(client, path: str, status: int = 200, **more):
    answer = client.get(path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


def put(client, path: str, body: object, status: int = 200):
    answer = client.put(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def post(client, path: str, body: object, status: int = 200, **more):
    answer = client.post(path, json=body, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


def delete(client, path: str, body: object = None) -> dict:
    answer = client.request("DELETE", path, json=body) if body is not None else client.delete(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def items(answer: dict) -> list[str]:
    return [entry["item"] for entry in answer["items"]]


def test_known_and_unknown_users_are_answered_and_told_apart(client) -> None:
    known = get(client, "/api/recommend/ann?n=3")
    assert known.keys() == {"user", "way", "model", "version", "items"}
    assert (known["user"], known["way"], known["model"], len(known["items"])) == ("ann", "trained", "blend", 3)
    assert known["items"][0].keys() == {"item", "label", "score", "way"}
    assert get(client, "/api/recommend/nobody?n=2")["way"] == "popular"
    assert get(client, "/api/recommend/hal?n=2")["way"] == "kg-only"


def test_a_kept_answer_says_how_far_its_process_is_now(client) -> None:
    before = get(client, "/api/recommend/ann")["version"]
    post(client, "/api/feedback", [{"user": "somebody", "item": "i03", "kind": "like"}])
    after = get(client, "/api/recommend/ann")["version"]
    assert int(after.rpartition(".")[2]) == int(before.rpartition(".")[2]) + 1


def test_options_of_a_recommendation(client) -> None:
    assert "i00" in items(get(client, "/api/recommend/ann?n=12&filter_seen=false"))
    assert "i00" not in items(get(client, "/api/recommend/ann?n=12"))
    assert items(get(client, "/api/recommend/ann?n=12&allow=i03&allow=i04&deny=i03")) == ["i04"]
    assert get(client, "/api/recommend/ann?allow=zzz")["items"] == []
    assert len(get(client, "/api/recommend/ann?n=3&diversity=0.8")["items"]) == 3


def test_a_click_changes_the_next_answer_and_nobody_elses(client) -> None:
    before, other = get(client, "/api/recommend/new"), get(client, "/api/recommend/ben")
    assert post(client, "/api/feedback", {"user": "new", "item": "i03", "kind": "click"}) == {"accepted": 1, "duplicates": 0}
    after = get(client, "/api/recommend/new")
    assert (before["way"], after["way"]) == ("popular", "adapted")
    assert items(after)[0] in {"i04", "i05"}  # the rest of the Tin Moon series
    assert get(client, "/api/recommend/ben")["items"] == other["items"]
    post(client, "/api/feedback", [{"user": "new", "item": items(after)[0], "kind": "dislike"}])
    assert items(after)[0] not in items(get(client, "/api/recommend/new"))


def test_undoing_leads_back(client) -> None:
    before = get(client, "/api/recommend/new")
    post(
        client,
        "/api/feedback",
        [{"user": "new", "item": "i03", "kind": "like"}, {"user": "new", "item": "i04", "kind": "dislike"}],
    )
    post(client, "/api/feedback", [{"user": "new", "item": item, "kind": "undo"} for item in ("i03", "i04")])
    after = get(client, "/api/recommend/new")
    assert (after["items"], after["way"]) == (before["items"], before["way"])


def test_feedback_is_kept_once(client) -> None:
    event = {"user": "new", "item": "i03", "kind": "like", "id": "e1", "time_s": 1764000000}
    key = {"Idempotency-Key": "k1"}
    assert post(client, "/api/feedback", [event, event], headers=key) == {"accepted": 1, "duplicates": 1}
    assert post(client, "/api/feedback", [event, event], headers=key) == {"accepted": 1, "duplicates": 1}
    other = {**event, "item": "i04"}
    assert post(client, "/api/feedback", [other], 409, headers=key)["error"]["field"] == "header.idempotency-key"
    conflict = post(client, "/api/feedback", [{**event, "id": None}, other], 409)["error"]
    assert (conflict["code"], conflict["field"]) == ("conflict", "body.1.id")
    assert len(get(client, "/api/users/new")["events"]) == 1


def test_a_session_keeps_nothing(client) -> None:
    asked = {"liked": ["i03"], "disliked": ["i04"], "n": 3, "deny": ["i05"], "explain": True}
    found = post(client, "/api/session/recommend", asked)
    assert (found["user"], found["way"]) == (None, "adapted")
    assert not {"i03", "i04", "i05"} & set(items(found))
    assert any(entry["reasons"] for entry in found["items"])
    assert get(client, "/api/status")["adapted_users"] == 0


def test_reasons_are_paths_whose_nodes_and_edges_take_turns(client) -> None:
    for answer in (
        get(client, "/api/explain/ann/i07?limit=2"),
        post(client, "/api/session/explain", {"liked": ["i00"], "item": "i01", "limit": 2}),
    ):
        told = {"user", "item", "score", "rank", "score_without", "rank_without", "way", "clicked", "faithfulness", "reasons"}
        assert set(answer) == told
        for reason in answer["reasons"]:
            path = reason["path"]
            assert all(("kind" in step) == (place % 2 == 0) for place, step in enumerate(path))
            assert all(step.keys() == {"relation", "label", "inverse"} for step in path[1::2])
            assert path[-1]["id"] == answer["item"]["item"]
            assert 0 < reason["share"] <= 1
            assert path[0]["label"] in reason["text"]
    assert answer["reasons"]
    shown = post(client, "/api/session/recommend", {"liked": ["i00"], "n": 20})
    assert answer["rank"] == 1 + items(shown).index("i01")
    assert get(client, "/api/explain/ann/zzz", 404)["error"]["code"] == "unknown_item"


def test_what_is_known_of_an_item(client) -> None:
    page = get(client, "/api/items/i00")
    assert (page["label"], page["popularity"]) == ("The Quiet House", 3)
    assert {"written_by", "genre", "set_in"} == {fact["relation"] for fact in page["facts"]}
    near = get(client, "/api/items/i00/neighbors?n=2")
    assert (near["label"], len(near["items"])) == ("The Quiet House", 2)
    assert get(client, "/api/items/i10/reach")["users"][0].keys() == {"user", "label", "score"}
    assert get(client, "/api/items/zzz", 404)["error"]["field"] == "path.item"


@pytest.mark.parametrize(
    ("kind", "text", "id_"),
    [("item", "quiet be", "i01"), ("entity", "mira", "e0"), ("relation", "writ", "written_by"), ("user", "AN", "ann")],
)
def test_searching_as_you_type(client, kind, text, id_) -> None:
    assert get(client, "/api/search", params={"q": text, "kind": kind})["results"][0]["id"] == id_


def test_a_new_item_reaches_its_readers_and_can_be_previewed(client, settled) -> None:
    thought = {
        "label": "The Quiet Tide",
        "facts": [{"relation": "written_by", "entity": "e0"}, {"relation": "genre", "entity": "e3"}],
    }
    foreseen = post(client, "/api/items/preview", {**thought, "n": 3})
    assert get(client, "/api/search?q=tide")["results"] == []  # nothing was kept
    assert put(client, "/api/items/i90", thought)["accepted"] == 1
    settled(client)
    assert get(client, "/api/search?q=tide")["results"][0]["id"] == "i90"
    assert "i90" in items(get(client, "/api/recommend/ann"))
    reached = get(client, "/api/items/i90/reach?n=3")["users"]
    assert [entry["user"] for entry in reached] == [entry["user"] for entry in foreseen["users"]]
    assert foreseen["similar"][0]["item"] in {"i00", "i01", "i02"}


def test_clicks_on_an_item_count_from_the_moment_it_arrives(client, settled) -> None:
    post(client, "/api/feedback", {"user": "new", "item": "i90", "kind": "like"})
    assert get(client, "/api/recommend/new")["way"] in {"popular", "adapted"}
    put(client, "/api/items/i90", {"facts": [{"relation": "written_by", "entity": "e1"}]})
    settled(client)
    assert set(items(get(client, "/api/recommend/new?n=4"))) <= {"i03", "i04", "i05", "i06", "i10"}


def test_a_removed_item_is_gone_at_once_and_comes_back_when_it_is_put(client, settled) -> None:
    assert "i01" in items(get(client, "/api/recommend/cleo?n=12"))
    delete(client, "/api/items/i01")
    assert "i01" not in items(get(client, "/api/recommend/cleo?n=12"))
    assert get(client, "/api/items/i01", 404)["error"]["code"] == "unknown_item"
    settled(client)
    assert "i01" not in items(get(client, "/api/recommend/cleo?n=12"))
    put(client, "/api/items/i01", {"label": "The Quiet Bell, again", "facts": [{"relation": "written_by", "entity": "e0"}]})
    settled(client)
    assert get(client, "/api/items/i01")["label"] == "The Quiet Bell, again"
    assert "i01" in items(get(client, "/api/recommend/cleo?n=12"))


def test_facts_come_and_go(client, settled) -> None:
    fact = [{"head": "i11", "relation": "written_by", "tail": "e0"}]
    post(client, "/api/triples", fact)
    settled(client)
    assert [found["entity"] for found in get(client, "/api/items/i11")["facts"]] == ["e0"]
    delete(client, "/api/triples", fact)
    settled(client)
    assert get(client, "/api/items/i11")["facts"] == []
    delete(client, "/api/triples", [{"head": "i00", "relation": "written_by", "tail": "e0"}])  # one of the bundle's
    settled(client)
    assert "written_by" not in {found["relation"] for found in get(client, "/api/items/i00")["facts"]}


def test_a_user_is_known_by_his_facts_and_forgotten_everywhere(client, tmp_path, settled) -> None:
    put(client, "/api/users/vic", {"label": "Vic", "facts": [{"relation": "at_home_in", "entity": "e6"}]})
    settled(client)
    assert get(client, "/api/recommend/vic")["way"] == "kg-only"
    assert get(client, "/api/users/vic")["label"] == "Vic"
    post(client, "/api/feedback", {"user": "vic", "item": "i03", "kind": "like"})
    for user in ("vic", "ann"):  # one who came, and one of the bundle's
        delete(client, f"/api/users/{user}")
        for _ in range(2):
            assert get(client, f"/api/recommend/{user}")["way"] == "popular"
            found = get(client, f"/api/users/{user}")
            assert (found["label"], found["liked"], [e["kind"] for e in found["events"]]) == (user, [], ["forget"])
            assert user not in {entry["id"] for entry in get(client, f"/api/search?kind=user&q={user}")["results"]}
            settled(client)
    text = (tmp_path / "store.sqlite").read_bytes()
    assert b"Vic" not in text
    post(client, "/api/feedback", {"user": "ann", "item": "i03", "kind": "like"})  # she comes back as somebody new
    assert get(client, "/api/users/ann")["liked"] == ["i03"]
    assert get(client, "/api/recommend/ann")["way"] == "adapted"


def test_an_item_does_not_take_the_id_of_an_entity(client, settled) -> None:
    facts = [{"relation": "genre", "entity": "e3"}]
    refused = put(client, "/api/items/e0", {"facts": facts}, 409)["error"]
    assert (refused["field"], "send its id as `entity` too" in refused["message"]) == ("path.item", True)
    assert put(client, "/api/items/e0", {"facts": facts, "entity": "e5"}, 409)["error"]["field"] == "path.item"
    assert put(client, "/api/items/e:i00", {"facts": facts, "entity": "e:i00"}, 409)["error"]["field"] == "body.entity"
    assert put(client, "/api/items/e5", {"facts": facts, "entity": "e5"})["accepted"] == 1
    settled(client)
    assert {"part_of", "genre"} == {fact["relation"] for fact in get(client, "/api/items/e5")["facts"]}


def test_a_fact_that_was_taken_back_by_another_name_stays_away(client, bundles, settled) -> None:
    post(client, "/api/triples", [{"head": "e:i00", "relation": "genre", "tail": "e9"}])
    settled(client)
    assert "e9" in {fact["entity"] for fact in get(client, "/api/items/i00")["facts"]}
    delete(client, "/api/triples", [{"head": "i00", "relation": "genre", "tail": "e9"}])
    settled(client)
    for _ in range(2):
        assert "e9" not in {fact["entity"] for fact in get(client, "/api/items/i00")["facts"]}
        post(client, "/api/admin/swap", {"bundle": "one"})


def test_links_that_contradict_are_refused(client, settled) -> None:
    assert put(client, "/api/items/i00", {"entity": "e5"}, 409)["error"]["field"] == "body.entity"
    assert put(client, "/api/items/i90", {"entity": "e:i00"}, 409)["error"]["field"] == "body.entity"
    assert put(client, "/api/items/i11", {"entity": "e5"})["accepted"] == 1  # the graph did not know it before
    status = settled(client)
    assert status["store"]["left_out"] == 0
    assert {fact["relation"] for fact in get(client, "/api/items/i11")["facts"]} == {"part_of"}


def test_ids_may_hold_slashes_and_anything_readable(client, settled) -> None:
    odd = "http://example.org/Zoë?a=1&b=%2F#x y"
    from urllib.parse import quote

    path = quote(odd, safe="")
    post(client, "/api/feedback", {"user": odd, "item": "i03", "kind": "like"})
    assert get(client, f"/api/users/{path}")["liked"] == ["i03"]
    assert get(client, f"/api/recommend/{path}")["user"] == odd
    put(client, f"/api/items/{path}", {"label": "Odd", "facts": [{"relation": "genre", "entity": "e3"}]})
    settled(client)
    assert get(client, f"/api/items/{path}")["item"] == odd
    assert get(client, f"/api/items/{path}/neighbors")["items"]


def test_status_health_and_figures(client) -> None:
    post(client, "/api/feedback", {"user": "new", "item": "i03", "kind": "like"})
    get(client, "/api/recommend/new")
    get(client, "/api/recommend/new")
    status = get(client, "/api/status")
    assert status["counts"]["items"] == 12
    assert (status["adapted_users"], status["store"]["events"], status["requests"]["kept_answers_used"]) == (1, 1, 1)
    assert get(client, "/api/health/live") == {"status": "live"}
    assert get(client, "/api/health/ready") == {"status": "ready"}
    text = client.get("/metrics").text
    assert 'metakg_requests_total{method="GET",route="/api/recommend/{user}",status="200"} 2.0' in text
    assert 'metakg_events_total{kind="like"} 1.0' in text
    assert 'metakg_request_seconds_bucket{le="+Inf",route="/api/feedback"} 1.0' in text
    assert "metakg_event_number 1.0" in text


def test_recommendations_by_way_count_every_answer(client) -> None:
    for _ in range(3):  # the later ones were kept
        get(client, "/api/recommend/ann")
    get(client, "/api/recommend/ann?deny=i00")
    post(client, "/api/session/recommend", {"liked": ["i00"]})
    text = client.get("/metrics").text
    assert 'metakg_answers_total{way="trained"} 4.0' in text
    assert 'metakg_answers_total{way="adapted"} 1.0' in text


def test_kept_answers_are_bounded_by_what_they_take(client) -> None:
    state, kept = client.app.state.service.state, Kept(most=100, most_bytes=1000)
    for number in range(20):
        assert kept.answer(state, f"u{number}", (10,), lambda: Made("popular", b"x" * 300)).body == b"x" * 300
        assert kept.held_bytes <= 1000
    assert [bool(kept.find(state, f"u{n}", (10,))) for n in (0, 16, 17, 18, 19)] == [False, False, True, True, True]
    kept.answer(state, "large", (10,), lambda: Made("popular", b"x" * 2000))
    assert kept.find(state, "large", (10,)) is None
    assert kept.held_bytes == 0, "what is larger than all of it stays out"


def test_long_questions_stand_before_no_quick_ones(client) -> None:
    service = client.app.state.service
    free = threading.Event()
    service.heavy._executor.submit(free.wait)
    try:
        with ThreadPoolExecutor(3) as threads:
            paths = ("recommend/ann?n=40&explain=true", "recommend/ann?n=200&diversity=0.5", "items/i00/reach")
            slow = [threads.submit(client.get, f"/api/{path}") for path in paths]
            wait_until(lambda: service.heavy.taken == 3)
            assert get(client, "/api/recommend/ann?n=20&diversity=0.5&explain=true")["items"]
            assert not any(answer.done() for answer in slow)
            free.set()
            assert [answer.result().status_code for answer in slow] == [200, 200, 200]
    finally:
        free.set()


def test_reasons_are_given_for_so_many_items_at_most(client) -> None:
    assert get(client, "/api/recommend/ann?n=51&explain=true", 422)["error"]["field"] == "query.n"
    assert post(client, "/api/session/recommend", {"n": 51, "explain": True}, 422)["error"]["field"] == "body.n"
    assert get(client, "/api/recommend/ann?n=50&explain=true")["items"]


def test_the_default_model_is_served(serving, settled, tmp_path) -> None:
    config = MetaKGConfig(hidden=4, candidates=8, own_items=3)
    Engine(MetaKG(config, toy_view(), torch_generator(1, "init/metakg")).eval()).save(tmp_path / "metakg")
    with serving(tmp_path / "metakg", str(tmp_path / "store.sqlite")) as (client, _):
        first = get(client, "/api/recommend/ann?n=5&explain=true")
        assert (first["model"], first["way"], len(first["items"])) == ("metakg", "trained", 5)
        assert any(entry["reasons"] for entry in first["items"])
        post(client, "/api/feedback", {"user": "new", "item": "i03", "kind": "like"})
        second = get(client, "/api/recommend/new?diversity=0.3")
        assert second["way"] == "adapted"
        assert "i03" not in items(second)
        why = get(client, f"/api/explain/new/{items(second)[0]}")
        assert why["reasons"]
        assert post(client, "/api/session/recommend", {"liked": ["i03"]})["items"]
        facts = [{"relation": "written_by", "entity": "e0"}]
        assert client.put("/api/items/fresh", json={"label": "Fresh", "facts": facts}).status_code == 200
        settled(client)
        assert "fresh" in items(get(client, "/api/recommend/new?n=20"))
        assert get(client, "/api/items/fresh/neighbors")["items"]
        assert get(client, "/api/items/fresh/reach")["users"]


def test_swapping_keeps_what_was_clicked_and_refuses_what_does_not_open(client, bundles, tmp_path) -> None:
    post(client, "/api/feedback", {"user": "new", "item": "i03", "kind": "like"})
    delete(client, "/api/items/i04")
    first = get(client, "/api/recommend/new")
    done = post(client, "/api/admin/swap", {"bundle": "two"})
    second = get(client, "/api/recommend/new")
    assert (first["model"], second["model"], second["way"]) == ("blend", "kg-knn", "adapted")
    assert done["version"] == second["version"]
    assert "i04" not in items(get(client, "/api/recommend/new?n=12&filter_seen=false"))
    for name in ("three", "../one", "/etc", ".", "two/../../x", "two/data"):
        refused = post(client, "/api/admin/swap", {"bundle": name}, 422)["error"]
        assert refused["code"] == "bundle_refused"
        assert str(tmp_path) not in json.dumps(refused)
    assert get(client, "/api/recommend/new")["model"] == "kg-knn"


def test_a_backup_lands_in_its_folder(client, tmp_path) -> None:
    post(client, "/api/feedback", {"user": "new", "item": "i03", "kind": "like"})
    made = post(client, "/api/admin/backup", None)
    assert (made["events"], made["last"]) == (1, 1)
    assert [file.name for file in (tmp_path / "backups").iterdir()] == [made["file"]]


def test_the_interface_describes_itself(client) -> None:
    schema = get(client, "/api/openapi.json")
    page = client.get("/api/docs")
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            assert route["summary"], path
            assert route["x-role"] in {"none", "read", "write", "admin"}
            assert route["responses"]["200"]["content"], (method, path)
            assert f"{method.upper()} {path}" in page.text
            if path != "/metrics":
                assert "example" in route["responses"]["200"]["content"]["application/json"], path
    assert "script" not in page.text
    assert "href='openapi.json'" in page.text, "relative, so that it works behind a path prefix"


def test_examples_of_the_description_have_the_shape_of_real_answers() -> None:
    """Each example of a success is valid under the schema that stands beside it."""
    from fastapi.routing import APIRoute
    from pydantic import TypeAdapter

    from metakg.serve.routes import ROUTERS

    seen = 0
    for route in chain.from_iterable(router.routes for router in ROUTERS):
        assert isinstance(route, APIRoute)
        told = route.responses[200]
        TypeAdapter(told["model"]).validate_python(told["content"]["application/json"]["example"], strict=True)
        seen += 1
    assert seen >= 20


def test_answers_have_the_shape_that_the_description_promises(client) -> None:
    from metakg.serve import schemas as s

    for path, model in (
        ("/api/recommend/ann?explain=true", s.Recommendations),
        ("/api/explain/ann/i07", s.Explanation),
        ("/api/items/i00", s.ItemOut),
        ("/api/items/i00/neighbors", s.Neighbours),
        ("/api/items/i00/reach", s.Reach),
        ("/api/search?q=t", s.Results),
        ("/api/users/ann", s.UserOut),
        ("/api/status", s.Status),
    ):
        model.model_validate(get(client, path), strict=True, extra="forbid")


@pytest.mark.parametrize("role", ["read", "write", "admin"])
def test_roles(bundles, tmp_path, role, serving) -> None:
    secret, digest = new_key()
    keys = Keys([f"{role}:tester:{digest}"])
    with serving(bundles / "one", str(tmp_path / "s.sqlite"), keys) as (client, _):
        client.headers["X-API-Key"] = secret
        assert client.get("/api/recommend/ann").status_code == 200
        event = {"user": "new", "item": "i03", "kind": "like"}
        assert client.post("/api/feedback", json=event).status_code == (403 if role == "read" else 200)
        swapped = client.post("/api/admin/swap", json={"bundle": "two"})
        assert swapped.status_code == (200 if role == "admin" else 403)
