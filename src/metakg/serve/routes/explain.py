"""Why an item is shown to somebody, with an account or without one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from metakg.serve import answers, schemas
from metakg.serve.routes.common import REASON, Router, as_json, not_hidden, refusing
from metakg.serve.schemas import PathId
from metakg.serve.service import service

router = Router()
_EXPLAINED = {
    "user": "ann",
    "item": {"item": "i07", "label": "The Quiet Bell"},
    "score": 0.83,
    "rank": 1,
    "score_without": 0.5,
    "rank_without": 7,
    "way": "trained",
    "clicked": False,
    "faithfulness": 0.4,
    "reasons": [REASON],
}

Limit = Annotated[int, Query(ge=1, le=20)]


@router.describe("GET", "/api/explain/{user}/{item}", "Why an item for a user", schemas.Explanation, _EXPLAINED, fails=(404,))
async def explain(request: Request, user: PathId, item: PathId, limit: Limit = 3) -> Response:
    """Paths from the user's own items to this one, each with its share of the score."""
    shared, state = service(request), service(request).state
    not_hidden(state, item)
    return as_json(await shared.ask(refusing(lambda: answers.explanation(state, user, item, limit))))


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
    not_hidden(state, ask.item, "body.item")
    made = refusing(lambda: answers.explanation(state, None, ask.item, ask.limit, ask.liked, ask.disliked), "body.item")
    return as_json(await shared.ask(made))
