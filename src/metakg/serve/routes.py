"""What can be asked. Each route checks nothing but its own meaning: who asks, how much and how fast is `gate`'s business.

Engine calls run in `Service.pool`, so that the event loop stays free. Answers are written as bytes by `answers`, not checked
again on the way out: the schemas describe them, and a test compares.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from fastapi import APIRouter, Header, Query, Request, Response

from metakg.engine import Engine
from metakg.errors import ConfigError, DataError, MetakgError, StoreError
from metakg.serve import answers, schemas
from metakg.serve.answers import dump
from metakg.serve.auth import needed
from metakg.serve.gate import Refusal
from metakg.serve.limits import Limits
from metakg.serve.live import Live, State
from metakg.serve.metrics import Metrics
from metakg.serve.pool import Busy, Pool, within
from metakg.serve.schemas import Diversity, Id, Number, PathId
from metakg.store import Accepted, Draft, Store, Writer, backup
from metakg.store.writer import Full
from metakg.types import Json

T = TypeVar("T")
_NOTHING = "nothing was kept"
_UNSURE = "it may or may not have been kept: send it again with the same Idempotency-Key (or the same ids)"


@dataclass
class Service:
    """What the routes share.

    Attributes:
        live: the state that answers.
        store, writer: where events go.
        limits: how much, how often, how long.
        bundles: folder that `swap` may take bundles from, or None.
        backups: folder that backups are written to, or None.
    """

    live: Live
    store: Store
    writer: Writer
    limits: Limits
    metrics: Metrics
    bundles: Path | None = None
    backups: Path | None = None
    kept: answers.Kept = field(default_factory=answers.Kept)
    begun_s: float = field(default_factory=time.monotonic)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.pool = Pool(self.limits.threads, self.limits.queue, "metakg-engine")
        # What takes seconds must not stand before what takes milliseconds, nor what takes hours before what takes seconds; and
        # a store that says nothing must hold up nobody but those who ask for what it holds.
        self.heavy = Pool(1, 4, "metakg-heavy")
        self.long = Pool(2, 0, "metakg-long")
        self.reading = Pool(2, 32, "metakg-store")
        self.swapping, self.backing_up = asyncio.Lock(), asyncio.Lock()

    @property
    def state(self) -> State:
        """The state that answers.

        Raises:
            Refusal: there is none yet.
        """
        state = self.live.state
        if state is None:
            raise Refusal(503, "the bundle is still being loaded", code="not_ready", retry_after_s=1)
        return state

    async def ask(self, call: Callable[[], T], *, costly: bool = False) -> T:
        """Run an engine call in the pool, within the deadline; a costly one where it stands before no quick one."""
        pool = self.heavy if costly else self.pool
        return await pool.run(call, self.limits.deadline_s)

    def stop(self) -> None:
        """End the threads that answer."""
        for pool in (self.pool, self.heavy, self.long, self.reading):
            pool.stop()

    async def keep(self, drafts: Sequence[Draft], key: str | None = None) -> Json:
        """Make events durable; return `accepted` and `duplicates`.

        Raises:
            Refusal: nothing was kept, since too much is waiting or it contradicts an earlier request; or the store does not
                answer, and nobody knows whether it kept something first.
        """
        _ = self.state  # nothing is accepted before the service knows what it has
        try:
            future = self.writer.submit(drafts, key)
        except Full as err:
            raise Refusal(503, f"too much is waiting to be written; {_NOTHING}", retry_after_s=1) from err
        try:
            outcome = await within(future, 4 * self.limits.deadline_s)
        except Busy as err:  # what had not begun was withdrawn; what had begun may still be committed
            sure = _NOTHING if future.cancelled() else _UNSURE
            raise Refusal(503, f"writing took too long; {sure}", code="busy", retry_after_s=1) from err
        except StoreError as err:
            raise Refusal(503, f"the store does not answer; {_UNSURE}", code="store_unavailable", retry_after_s=5) from err
        if not isinstance(outcome, Accepted):
            if outcome.place is None:
                raise Refusal(409, "this key was sent with another request before", field="header.idempotency-key")
            place = f"body.{outcome.place}.id"
            raise Refusal(409, f"this id was sent with another event before; {_NOTHING}", field=place)
        for event in outcome.events:
            self.metrics.event(event.kind)
        return {"accepted": outcome.accepted, "duplicates": outcome.duplicates}


def service(request: Request) -> Service:
    """Return what the routes share."""
    found: Service = request.app.state.service
    return found


def _json(value: object, status: int = 200) -> Response:
    return Response(dump(value), status, media_type="application/json")


def _bytes(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _known(call: Callable[[], T]) -> Callable[[], T]:
    """Turn the engine's errors into answers: an unknown item is none of ours, and a model without paths says so."""

    def run() -> T:
        try:
            return call()
        except DataError as err:
            raise Refusal(404, f"{err.where} is unknown", code="unknown_item", field="path.item") from err
        except ConfigError as err:
            raise Refusal(422, "this model cannot explain its answers", code="no_explanations") from err

    return run


class Router(APIRouter):
    """A router whose routes say what they need, show an example, and list every way to fail."""

    def describe(
        self,
        method: str,
        path: str,
        summary: str,
        model: Any,
        example: object,
        *,
        fails: Sequence[int] = (),
        body: object = None,
    ) -> Callable[[Any], Any]:
        """Return the decorator that adds a route."""
        role = needed(method, path.replace("{user}", "u").replace("{item}", "i"))
        failures = sorted({*fails, *((401, 403, 429, 503) if role else ()), 500} - {500})
        shown: dict[int | str, dict[str, Any]] = {
            200: {"model": model, "description": "Done.", "content": {"application/json": {"example": example}}},
            **{status: {"model": schemas.Error} for status in (*failures, 408, 413, 415, 422)},
        }
        more: dict[str, Any] = {"x-role": role or "none", **({"security": [{"key": []}]} if role else {})}
        if body is not None:
            more["requestBody"] = {"content": {"application/json": {"example": body}}}
        return self.api_route(
            path,
            methods=[method],
            summary=summary,
            responses=shown,
            response_class=Response,
            openapi_extra=more,
            operation_id=f"{method.lower()}{path.replace('/', '_').replace('{', '').replace('}', '')}",
        )


router = Router()
_ITEM = {"item": "i07", "label": "The Quiet Bell", "score": 0.83, "way": "adapted"}
_PATH = [
    {"kind": "item", "id": "i00", "label": "The Quiet House"},
    {"relation": "written_by", "label": "written by", "inverse": False},
    {"kind": "entity", "id": "e0", "label": "Mira Voss"},
    {"relation": "written_by", "label": "written by", "inverse": True},
    {"kind": "item", "id": "i07", "label": "The Quiet Bell"},
]
_REASON = {"share": 0.4, "text": "liked The Quiet House -> written by Mira Voss -> The Quiet Bell", "path": _PATH}
_LIST = {"user": "ann", "way": "adapted", "model": "metakg", "version": "3f9a12cd.42", "items": [_ITEM]}
_EXPLAINED = {
    "user": "ann",
    "item": {"item": "i07", "label": "The Quiet Bell"},
    "score": 0.83,
    "rank": 1,
    "score_without": 0.5,
    "rank_without": 7,
    "faithfulness": 0.4,
    "reasons": [_REASON],
}
_FACT = {
    "relation": "written_by",
    "relation_label": "written by",
    "inverse": False,
    "entity": "e0",
    "entity_label": "Mira Voss",
    "is_item": False,
}
_REACHED = {"user": "ann", "label": "Ann", "score": 1.0}
_KEPT = {"accepted": 1, "duplicates": 0}
_SESSION = {"liked": ["i00", "i01"], "disliked": ["i03"], "n": 5, "explain": True}
_EVENT = {"user": "ann", "item": "i07", "kind": "like", "id": "web-20260101-0001"}
_NEW_ITEM = {"label": "The Quiet Tide", "facts": [{"relation": "written_by", "entity": "e0"}]}
_TRIPLE = [{"head": "i07", "relation": "genre", "tail": "e3"}]

Ids = Annotated[list[Id], Query(max_length=schemas.MOST_ITEMS)]
Limit = Annotated[int, Query(ge=1, le=20)]
Key = Annotated[str | None, Header(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
"""The parameter of this type is called `idempotency_key`, and the header `Idempotency-Key`."""
_EVENTS = 10_000
"""Events in one answer about a user."""
_QUICK = 20
"""Items of a list that is explained or diverse and still quick."""


@router.describe("GET", "/api/recommend/{user}", "Recommend to a user, known or new", schemas.Recommendations, _LIST)
async def recommend(
    request: Request,
    user: PathId,
    n: Number = 10,
    filter_seen: bool = True,
    diversity: Diversity = 0.0,
    explain: bool = False,
    deny: Ids = [],  # noqa: B006 - read, never changed
    allow: Annotated[list[Id] | None, Query(max_length=schemas.MOST_ITEMS)] = None,
) -> Response:
    """An unknown user is answered too; `way` says how each answer was made."""
    shared = service(request)
    state = shared.state

    def make() -> answers.Made:
        answer = answers.recommendations(
            state, user, n, filter_seen=filter_seen, allow=allow, deny=deny, diversity=diversity, explain=explain
        )
        return answers.Made(answer["way"], dump(answer))

    costly = _is_costly(n, diversity, explain)
    if deny or allow is not None:  # hardly ever asked twice, and lists of ids would fill the memory
        found: answers.Made = await shared.ask(make, costly=costly)
    else:
        question = (n, filter_seen, diversity, explain)
        kept = shared.kept.find(state, user, question)
        if kept is None:
            kept = await shared.ask(lambda: shared.kept.answer(state, user, question, make), costly=costly)
        found = kept
    shared.metrics.way(found.way)
    return _bytes(found.body)


@router.describe(
    "POST",
    "/api/session/recommend",
    "Recommend to somebody without an account",
    schemas.Recommendations,
    {**_LIST, "user": None, "items": [{**_ITEM, "reasons": [_REASON]}]},
    body=_SESSION,
)
async def session_recommend(request: Request, ask: schemas.SessionAsk) -> Response:
    """Answers as if all of `liked` and `disliked` had been clicked; keeps nothing."""
    shared, state = service(request), service(request).state

    def make() -> bytes:
        answer = answers.recommendations(
            state,
            None,
            ask.n,
            liked=ask.liked,
            disliked=ask.disliked,
            allow=ask.allow,
            deny=ask.deny,
            diversity=ask.diversity,
            explain=ask.explain,
        )
        shared.metrics.way(answer["way"])
        return dump(answer)

    return _bytes(await shared.ask(make, costly=_is_costly(ask.n, ask.diversity, ask.explain, "body.n")))


@router.describe("POST", "/api/feedback", "Keep what users did", schemas.Kept, _KEPT, fails=(409,), body=[_EVENT])
async def feedback(
    request: Request,
    sent: schemas.Feedbacks,
    idempotency_key: Key = None,
) -> Response:
    """One event or a list; all or nothing. On disk when answered, and in the next answer of this server.

    The same `Idempotency-Key` of the same caller with the same body is answered alike and has no second effect, for 30 days.
    """
    events = sent if isinstance(sent, list) else [sent]
    drafts = [Draft(event.kind, event.user, event.item, time_s=event.time_s, client_id=event.id) for event in events]
    return await _keep(request, drafts, idempotency_key)


@router.describe("GET", "/api/explain/{user}/{item}", "Why an item for a user", schemas.Explanation, _EXPLAINED, fails=(404,))
async def explain(request: Request, user: PathId, item: PathId, limit: Limit = 3) -> Response:
    """Paths from the user's own items to this one, each with its share of the score."""
    shared, state = service(request), service(request).state
    _not_hidden(state, item)
    return _json(await shared.ask(_known(lambda: answers.explanation(state, user, item, limit))))


@router.describe(
    "POST",
    "/api/session/explain",
    "Why an item for somebody without an account",
    schemas.Explanation,
    {**_EXPLAINED, "user": None},
    fails=(404,),
    body={"liked": ["i00"], "item": "i07"},
)
async def session_explain(request: Request, ask: schemas.SessionWhy) -> Response:
    """As for a user, from what is sent."""
    shared, state = service(request), service(request).state
    _not_hidden(state, ask.item)
    made = _known(lambda: answers.explanation(state, None, ask.item, ask.limit, ask.liked, ask.disliked))
    return _json(await shared.ask(made))


@router.describe(
    "GET",
    "/api/items/{item}",
    "What is known of an item",
    schemas.ItemOut,
    {"item": "i07", "label": "The Quiet Bell", "popularity": 3, "facts": [_FACT]},
    fails=(404,),
)
async def item_page(request: Request, item: PathId) -> Response:
    """Its name, its popularity, its facts."""
    shared, state = service(request), service(request).state
    _not_hidden(state, item)
    return _json(await shared.ask(_known(lambda: answers.item_page(state, item))))


@router.describe(
    "GET",
    "/api/items/{item}/neighbors",
    "Items close to one",
    schemas.Neighbours,
    {"item": "i00", "label": "The Quiet House", "items": [{**_ITEM, "way": "trained"}]},
    fails=(404,),
)
async def neighbors(request: Request, item: PathId, n: Number = 10) -> Response:
    """By facts and by who clicked both."""
    shared, state = service(request), service(request).state
    _not_hidden(state, item)

    def make() -> Json:
        found = answers.similar(state, item, n)
        known = state.engine.found(item)
        assert known is not None, "an item with neighbours is found"
        return {"item": item, "label": known.label, "items": found}

    return _json(await shared.ask(_known(make)))


@router.describe(
    "GET", "/api/items/{item}/reach", "Whom an item would reach", schemas.Reach, {"users": [_REACHED]}, fails=(404,)
)
async def reach(request: Request, item: PathId, n: Number = 10) -> Response:
    """Users who have not clicked it, to whose clicks it is close."""
    shared, state = service(request), service(request).state
    _not_hidden(state, item)
    return _json(await shared.ask(_known(lambda: answers.reach(state, item, n)), costly=True))


@router.describe(
    "POST",
    "/api/items/preview",
    "Whom a brand-new item would reach",
    schemas.Preview,
    {"users": [_REACHED], "similar": [_ITEM]},
    body=_NEW_ITEM,
)
async def preview(request: Request, thought: schemas.PreviewIn) -> Response:
    """Nothing is kept. Takes about as long as adding the item."""
    shared, state = service(request), service(request).state
    facts = [(fact.relation, fact.entity, fact.entity_label) for fact in thought.facts]
    call = _known(lambda: answers.preview(state, thought.label, facts, thought.n))
    return _json(await shared.heavy.run(call, 4 * shared.limits.deadline_s))


@router.describe(
    "GET",
    "/api/search",
    "Search as you type",
    schemas.Results,
    {"results": [{"id": "i07", "label": "The Quiet Bell", "popularity": 3}]},
)
async def search(
    request: Request,
    q: Annotated[str, Query(max_length=200)] = "",
    kind: Annotated[str, Query(pattern="^(item|entity|relation|user)$")] = "item",
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Response:
    """Every word typed begins a word of the name; popular first."""
    shared, state = service(request), service(request).state

    def make() -> Json:
        hidden = state.hidden_items if kind == "item" else state.hidden_users if kind == "user" else frozenset()
        found = state.engine.search(q, limit + len(hidden), kind)  # type: ignore[arg-type]  # one of four, by the pattern
        kept = [entry for entry in found if entry.id not in hidden][:limit]
        return {"results": [{"id": entry.id, "label": entry.label, "popularity": entry.popularity} for entry in kept]}

    return _json(await shared.ask(make))


@router.describe(
    "PUT",
    "/api/users/{user}",
    "Add or change a user",
    schemas.Kept,
    _KEPT,
    fails=(409,),
    body={"label": "Ann", "facts": [{"relation": "aged", "entity": "e7"}]},
)
async def put_user(request: Request, user: PathId, sent: schemas.UserIn, idempotency_key: Key = None) -> Response:
    """Facts are added to those there are. In the answers after a moment (see `status`)."""
    body = {"label": sent.label, "facts": [[fact.relation, fact.entity] for fact in sent.facts]}
    return await _keep(request, [Draft("user", user, body=body)], idempotency_key)


@router.describe(
    "GET",
    "/api/users/{user}",
    "What is kept of a user",
    schemas.UserOut,
    {
        "user": "ann",
        "label": "Ann",
        "way": "adapted",
        "liked": ["i07"],
        "disliked": [],
        "events": [{"seq": 41, "kind": "like", "item": "i07", "body": {}, "time_s": 1764000000}],
        "next": None,
    },
)
async def get_user(request: Request, user: PathId, after: Annotated[int, Query(ge=0, le=2**62)] = 0) -> Response:
    """The events kept of him, in order, and what they come to. What the bundle was trained on is not listed.

    Of very many events one answer holds the first 10,000 behind number `after`; `next` is the number to go on behind.
    """
    shared, state = service(request), service(request).state
    try:
        held = await shared.reading.run(lambda: shared.store.of_user(user, after, _EVENTS + 1), shared.limits.deadline_s)
    except StoreError as err:
        raise Refusal(503, "the store does not answer", code="store_unavailable", retry_after_s=5) from err
    events = held[:_EVENTS]

    def make() -> Json:
        clicks, known = state.engine.overlay[user], state.engine.found(user, "user")
        hidden = user in state.hidden_users
        return {
            "user": user,
            "label": user if known is None or hidden else known.label,
            "way": state.engine.way(None if hidden else user, clicks.liked, clicks.disliked),
            "liked": list(clicks.liked),
            "disliked": list(clicks.disliked),
            "events": [
                {"seq": event.seq, "kind": event.kind, "item": event.item, "body": event.body, "time_s": event.time_s}
                for event in events
            ],
            "next": events[-1].seq if len(held) > len(events) else None,
        }

    return _json(await shared.ask(make))


@router.describe("DELETE", "/api/users/{user}", "Forget a user everywhere", schemas.Kept, _KEPT, fails=(409,))
async def delete_user(request: Request, user: PathId, idempotency_key: Key = None) -> Response:
    """His events are erased, his clicks and facts leave the answers, and so does what the bundle knew of him.

    His bare id is kept, so that the next bundle can leave him out too.
    """
    return await _keep(request, [Draft("forget", user)], idempotency_key)


@router.describe("PUT", "/api/items/{item}", "Add or change an item", schemas.Kept, _KEPT, fails=(409,), body=_NEW_ITEM)
async def put_item(request: Request, item: PathId, sent: schemas.ItemIn, idempotency_key: Key = None) -> Response:
    """A new item is recommended from its facts alone, after a moment (see `status`). Facts are added to those there are."""
    shared = service(request)
    _may_come(shared.state.engine, item, sent.entity)
    facts = [[fact.relation, fact.entity, fact.entity_label] for fact in sent.facts]
    body = {"label": sent.label, "entity": sent.entity, "facts": facts}
    return await _keep(request, [Draft("item", item=item, body=body)], idempotency_key)


@router.describe("DELETE", "/api/items/{item}", "Remove an item", schemas.Kept, _KEPT, fails=(409,))
async def delete_item(request: Request, item: PathId, idempotency_key: Key = None) -> Response:
    """Never shown or used again, unless it is put again."""
    return await _keep(request, [Draft("drop-item", item=item)], idempotency_key)


@router.describe("POST", "/api/triples", "Add facts", schemas.Kept, _KEPT, fails=(409,), body=_TRIPLE)
async def post_triples(request: Request, sent: schemas.Triples, idempotency_key: Key = None) -> Response:
    """In the answers after a moment (see `status`). An item's id stands for its entity."""
    return await _keep(request, [Draft("facts", body=_triples(sent))], idempotency_key)


@router.describe("DELETE", "/api/triples", "Take facts back", schemas.Kept, _KEPT, fails=(409,), body=_TRIPLE)
async def delete_triples(request: Request, sent: schemas.Triples, idempotency_key: Key = None) -> Response:
    """Facts of the bundle too. Unknown ones change nothing."""
    return await _keep(request, [Draft("drop-facts", body=_triples(sent))], idempotency_key)


@router.describe(
    "GET",
    "/api/status",
    "How the service is",
    schemas.Status,
    {
        "model": "metakg",
        "version": "3f9a12cd.42",
        "bundle": "bundle",
        "uptime_s": 3600.5,
        "counts": {"users": 8, "items": 12, "entities": 20, "relations": 7, "interactions": 24, "triples": 32},
        "cold_start": [{"scenario": "user_cold", "recall": 0.4048}],
        "requests": {"total": 1843, "by_status": {"2xx": 1843}, "waiting": 0, "kept_answers_used": 12},
        "store": {"reachable": True, "events": 42, "unwritten": 0, "behind": 0, "behind_s": 0.0, "left_out": 0},
        "adapted_users": 3,
    },
)
async def status(request: Request) -> Response:
    """Counts, versions, how far the background work is, and the bundle's own figures for cold starts."""
    shared, state = service(request), service(request).state

    def make() -> Json:
        behind, behind_s = shared.live.behind
        return {
            "model": state.engine.model,
            "version": state.version,
            "bundle": state.bundle.name,
            "uptime_s": round(time.monotonic() - shared.begun_s, 1),
            "counts": dict(state.engine.counts),
            "cold_start": list(state.engine.figures),
            "requests": {
                "total": shared.metrics.total,
                "by_status": dict(shared.metrics.by_status),
                "waiting": shared.pool.taken,
                "kept_answers_used": shared.kept.hits,
            },
            "store": {
                "reachable": shared.live.reachable,
                "events": state.seq,
                "unwritten": shared.writer.waiting,
                "behind": behind,
                "behind_s": round(behind_s, 3),
                "left_out": shared.live.refused,
            },
            "adapted_users": state.engine.n_adapted,
        }

    return _json(await shared.ask(make))


@router.describe("GET", "/api/health/live", "Alive", schemas.Health, {"status": "live"})
async def live() -> Response:
    """The process answers."""
    return _json({"status": "live"})


@router.describe("GET", "/api/health/ready", "Ready", schemas.Health, {"status": "ready"}, fails=(503,))
async def ready(request: Request) -> Response:
    """The bundle is loaded, everything in the store is applied, and answers are warm. Not while it stops."""
    shared = service(request)
    _ = shared.state
    if shared.stopping:
        raise Refusal(503, "the server is stopping", code="not_ready", retry_after_s=5)
    return _json({"status": "ready"})


@router.describe(
    "POST",
    "/api/admin/swap",
    "Answer from another bundle",
    schemas.Swapped,
    {"bundle": "bundle-2", "version": "77aa01bc.42", "took_s": 2.4},
    fails=(409,),
    body={"bundle": "bundle-2"},
)
async def swap(request: Request, sent: schemas.SwapIn) -> Response:
    """Loaded beside the old one, given all events, warmed up, swapped in. A bundle that does not open changes nothing."""
    shared = service(request)
    folder = _inside(shared.bundles, sent.bundle)
    if shared.swapping.locked():
        raise Refusal(409, "another bundle is being loaded")
    async with shared.swapping:
        begin = time.monotonic()
        try:
            state = await shared.long.run(lambda: shared.live.swap(folder), 3600.0)
        except StoreError as err:
            raise Refusal(503, "the store does not answer", code="store_unavailable", retry_after_s=5) from err
        except MetakgError as err:
            message = f"the bundle does not open, the old one goes on: {err.found}; expected {err.expected}"
            raise Refusal(422, message, code="bundle_refused", field="body.bundle") from err
    took_s = round(time.monotonic() - begin, 3)
    return _json({"bundle": folder.name, "version": state.version, "took_s": took_s})


@router.describe(
    "POST",
    "/api/admin/backup",
    "Back the store up",
    schemas.BackedUp,
    {"file": "metakg-20260101-120000.jsonl", "events": 42, "answers": 3, "last": 42, "bytes": 8192},
    fails=(409,),
)
async def back_up(request: Request) -> Response:
    """Into the folder that the server was started with (`--backups`), as of one moment, while it serves."""
    shared = service(request)
    if shared.backups is None:
        raise Refusal(409, "the server was started without --backups FOLDER", code="no_backups")
    if shared.backing_up.locked():
        raise Refusal(409, "another backup is being written")
    file = shared.backups / f"metakg-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:6]}.jsonl"
    async with shared.backing_up:
        try:
            made = await shared.long.run(lambda: backup(shared.store, file), 3600.0)
        except StoreError as err:
            raise Refusal(503, "the store does not answer", code="store_unavailable", retry_after_s=5) from err
        except DataError as err:
            raise Refusal(503, f"the backup cannot be written: {err.found}", code="no_backup", retry_after_s=60) from err
    return _json({"file": file.name, **made})


@router.describe("GET", "/metrics", "Figures for Prometheus", str, "metakg_requests_total{...} 1843.0")
async def metrics(request: Request) -> Response:
    """Text in Prometheus' format."""
    return Response(service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _keep(request: Request, drafts: Sequence[Draft], key: str | None) -> Response:
    """Keep events; a key is one of this caller's, and another caller's may be the same."""
    return _json(await service(request).keep(drafts, None if key is None else f"{request.state.caller} {key}"))


def _is_costly(n: int, diversity: float, explain: bool, field: str = "query.n") -> bool:
    """Return whether a list is asked for that takes one more question of the engine for each of many items.

    Raises:
        Refusal: reasons are asked for more items than one answer gives them for.
    """
    if explain and n > schemas.MOST_EXPLAINED:
        message = f"reasons are given for up to {schemas.MOST_EXPLAINED} items in one answer"
        raise Refusal(422, message, field=field)
    return n > _QUICK and bool(diversity or explain)


def _triples(sent: Sequence[schemas.TripleIn]) -> Json:
    return {"triples": [[fact.head, fact.relation, fact.tail] for fact in sent]}


def _not_hidden(state: State, item: str) -> None:
    if item in state.hidden_items:
        raise Refusal(404, f"item {item!r} is unknown", code="unknown_item", field="path.item")


def _may_come(engine: Engine, item: str, entity: str | None) -> None:
    """Refuse an item that contradicts what there is, while it can still be refused.

    Raises:
        Refusal: an entity has the id of this new item, the item is linked to another entity, or the entity is another item.
    """
    from metakg.data.view import unlinked_entity

    v = engine.recommender.view.vocabulary
    row = v.items.row(item)
    if row is None and entity != item and item in v.entities:
        way = "if the item is that entity, send its id as `entity` too, else give the item another id"
        raise Refusal(409, f"an entity of the knowledge graph has this id: {way}", field="path.item")
    if entity is None:
        return
    node = v.entities.row(entity)
    if row is not None and v.entities.id(row) not in (entity, unlinked_entity(item)):
        raise Refusal(409, "the item is linked to another entity", field="body.entity")
    if node is not None and node < v.n_items and node != row:
        raise Refusal(409, "the entity is another item", field="body.entity")


def _inside(root: Path | None, name: str) -> Path:
    """Return a bundle's folder, which must lie within the allowed one, links followed.

    Raises:
        Refusal: it does not, or is not there.
    """
    if root is None:
        raise Refusal(409, "the server was started without --bundles FOLDER", code="no_bundles")
    try:
        folder = (root / name).resolve()
        there = folder.is_relative_to(root.resolve()) and folder != root.resolve() and folder.is_dir()
    except (OSError, ValueError, RuntimeError):
        there = False
    if not there:
        raise Refusal(422, "no such bundle in the folder of bundles", code="bundle_refused", field="body.bundle")
    return folder


__all__ = ["Busy", "Router", "Service", "router"]
