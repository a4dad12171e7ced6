"""Facts of the knowledge graph, added and taken back."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request, Response

from metakg.serve import schemas
from metakg.serve.routes.common import KEPT, Key, Router, keep
from metakg.store import Draft
from metakg.types import Json

router = Router()
_TRIPLE = [{"head": "i07", "relation": "genre", "tail": "e3"}]


@router.describe("POST", "/api/triples", "Add facts", schemas.Kept, KEPT, fails=(409,), body=_TRIPLE)
async def post_triples(request: Request, sent: schemas.Triples, idempotency_key: Key = None) -> Response:
    """In the answers after a moment (see `status`). An item's id stands for its entity."""
    return await keep(request, [Draft("facts", body=_triples(sent))], idempotency_key)


@router.describe("DELETE", "/api/triples", "Take facts back", schemas.Kept, KEPT, fails=(409,), body=_TRIPLE)
async def delete_triples(request: Request, sent: schemas.Triples, idempotency_key: Key = None) -> Response:
    """Facts of the bundle too. Unknown ones change nothing."""
    return await keep(request, [Draft("drop-facts", body=_triples(sent))], idempotency_key)


def _triples(sent: Sequence[schemas.TripleIn]) -> Json:
    return {"triples": [[fact.head, fact.relation, fact.tail] for fact in sent]}
