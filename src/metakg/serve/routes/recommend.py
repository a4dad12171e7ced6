"""What to show to somebody, with an account or without one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from metakg.serve import answers, schemas
from metakg.serve.answers import dump
from metakg.serve.gate import Refusal
from metakg.serve.routes.common import ITEM, REASON, Router
from metakg.serve.schemas import Diversity, Id, Number, PathId
from metakg.serve.service import service

router = Router()
_LIST = {"user": "ann", "way": "adapted", "model": "metakg", "version": "3f9a12cd.42", "items": [ITEM]}
_SESSION = {"liked": ["i00", "i01"], "disliked": ["i03"], "n": 5, "explain": True}

Ids = Annotated[list[Id], Query(max_length=schemas.MOST_ITEMS)]
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
    return _bytes(found.at(state.version))


@router.describe(
    "POST",
    "/api/session/recommend",
    "Recommend to somebody without an account",
    schemas.Recommendations,
    {**_LIST, "user": None, "items": [{**ITEM, "reasons": [REASON]}]},
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
        return answers.Made(answer["way"], dump(answer)).at(state.version)

    return _bytes(await shared.ask(make, costly=_is_costly(ask.n, ask.diversity, ask.explain, "body.n")))


def _is_costly(n: int, diversity: float, explain: bool, field: str = "query.n") -> bool:
    """Return whether a list is asked for that takes one more question of the engine for each of many items.

    Raises:
        Refusal: reasons are asked for more items than one answer gives them for.
    """
    if explain and n > schemas.MOST_EXPLAINED:
        message = f"reasons are given for up to {schemas.MOST_EXPLAINED} items in one answer"
        raise Refusal(422, message, field=field)
    return n > _QUICK and bool(diversity or explain)


def _bytes(body: bytes) -> Response:
    return Response(body, media_type="application/json")
