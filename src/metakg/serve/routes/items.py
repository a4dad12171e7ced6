"""Items: what is known of one, what is close to it, whom it would reach; searched, added, changed and removed.

The search finds entities, relations and users by their names too.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from metakg.engine import Engine
from metakg.serve import answers, schemas
from metakg.serve.gate import Refusal
from metakg.serve.routes.common import ITEM, KEPT, Key, Router, as_json, keep, not_hidden, refusing
from metakg.serve.schemas import Number, PathId
from metakg.serve.service import service
from metakg.store import Draft
from metakg.types import Json

router = Router()
_FACT = {
    "relation": "written_by",
    "relation_label": "written by",
    "inverse": False,
    "entity": "e0",
    "entity_label": "Mira Voss",
    "is_item": False,
}
_REACHED = {"user": "ann", "label": "Ann", "score": 1.0}
_NEW_ITEM = {"label": "The Quiet Tide", "facts": [{"relation": "written_by", "entity": "e0"}]}


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
    not_hidden(state, item)
    return as_json(await shared.ask(refusing(lambda: answers.item_page(state, item))))


@router.describe(
    "GET",
    "/api/items/{item}/neighbors",
    "Items close to one",
    schemas.Neighbours,
    {"item": "i00", "label": "The Quiet House", "items": [{**ITEM, "way": "trained"}]},
    fails=(404,),
)
async def neighbors(request: Request, item: PathId, n: Number = 10) -> Response:
    """By facts and by who clicked both."""
    shared, state = service(request), service(request).state
    not_hidden(state, item)

    def make() -> Json:
        found = answers.similar(state, item, n)
        known = state.engine.found(item)
        assert known is not None, "an item with neighbours is found"
        return {"item": item, "label": known.label, "items": found}

    return as_json(await shared.ask(refusing(make)))


@router.describe(
    "GET", "/api/items/{item}/reach", "Whom an item would reach", schemas.Reach, {"users": [_REACHED]}, fails=(404,)
)
async def reach(request: Request, item: PathId, n: Number = 10) -> Response:
    """Users who have not clicked it, to whose clicks it is close."""
    shared, state = service(request), service(request).state
    not_hidden(state, item)
    return as_json(await shared.ask(refusing(lambda: answers.reach(state, item, n)), costly=True))


@router.describe(
    "POST",
    "/api/items/preview",
    "Whom a brand-new item would reach",
    schemas.Preview,
    {"users": [_REACHED], "similar": [ITEM]},
    body=_NEW_ITEM,
)
async def preview(request: Request, thought: schemas.PreviewIn) -> Response:
    """Nothing is kept. Takes about as long as adding the item."""
    shared, state = service(request), service(request).state
    facts = [(fact.relation, fact.entity, fact.entity_label) for fact in thought.facts]
    call = refusing(lambda: answers.preview(state, thought.label, facts, thought.n))
    return as_json(await shared.heavy.run(call, 4 * shared.limits.deadline_s))


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

    return as_json(await shared.ask(make))


@router.describe("PUT", "/api/items/{item}", "Add or change an item", schemas.Kept, KEPT, fails=(409,), body=_NEW_ITEM)
async def put_item(request: Request, item: PathId, sent: schemas.ItemIn, idempotency_key: Key = None) -> Response:
    """A new item is recommended from its facts alone, after a moment (see `status`). Facts are added to those there are."""
    shared = service(request)
    _may_come(shared.state.engine, item, sent.entity)
    facts = [[fact.relation, fact.entity, fact.entity_label] for fact in sent.facts]
    body = {"label": sent.label, "entity": sent.entity, "facts": facts}
    return await keep(request, [Draft("item", item=item, body=body)], idempotency_key)


@router.describe("DELETE", "/api/items/{item}", "Remove an item", schemas.Kept, KEPT, fails=(409,))
async def delete_item(request: Request, item: PathId, idempotency_key: Key = None) -> Response:
    """Never shown or used again, unless it is put again."""
    return await keep(request, [Draft("drop-item", item=item)], idempotency_key)


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
