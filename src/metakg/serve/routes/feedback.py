"""What users did."""

from __future__ import annotations

from fastapi import Request, Response

from metakg.serve import schemas
from metakg.serve.routes.common import KEPT, Key, Router, keep
from metakg.store import Draft

router = Router()
_EVENT = {"user": "ann", "item": "i07", "kind": "like", "id": "web-20260101-0001"}


@router.describe("POST", "/api/feedback", "Keep what users did", schemas.Kept, KEPT, fails=(409,), body=[_EVENT])
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
    return await keep(request, drafts, idempotency_key)
