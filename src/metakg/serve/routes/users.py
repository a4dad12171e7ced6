"""Users: what is kept of one; added, changed and forgotten."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from metakg.errors import StoreError
from metakg.serve import schemas
from metakg.serve.gate import Refusal
from metakg.serve.routes.common import KEPT, Key, Router, as_json, keep
from metakg.serve.schemas import PathId
from metakg.serve.service import service
from metakg.store import Draft
from metakg.types import Json

router = Router()
_EVENTS = 10_000
"""Events in one answer about a user."""


@router.describe(
    "PUT",
    "/api/users/{user}",
    "Add or change a user",
    schemas.Kept,
    KEPT,
    fails=(409,),
    body={"label": "Ann", "facts": [{"relation": "aged", "entity": "e7"}]},
)
async def put_user(request: Request, user: PathId, sent: schemas.UserIn, idempotency_key: Key = None) -> Response:
    """Facts are added to those there are. In the answers after a moment (see `status`)."""
    body = {"label": sent.label, "facts": [[fact.relation, fact.entity] for fact in sent.facts]}
    return await keep(request, [Draft("user", user, body=body)], idempotency_key)


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

    return as_json(await shared.ask(make))


@router.describe("DELETE", "/api/users/{user}", "Forget a user everywhere", schemas.Kept, KEPT, fails=(409,))
async def delete_user(request: Request, user: PathId, idempotency_key: Key = None) -> Response:
    """His events are erased, his clicks and facts leave the answers, and so does what the bundle knew of him.

    His bare id is kept, so that the next bundle can leave him out too.
    """
    return await keep(request, [Draft("forget", user)], idempotency_key)
