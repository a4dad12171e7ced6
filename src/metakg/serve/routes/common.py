"""What the routes share: how one is described, how it answers, and what several examples show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute

from metakg.errors import ConfigError, DataError
from metakg.serve import schemas
from metakg.serve.answers import dump
from metakg.serve.auth import needed
from metakg.serve.gate import Refusal
from metakg.serve.live import State
from metakg.serve.service import service
from metakg.store import Draft

T = TypeVar("T")
Key = Annotated[str | None, Header(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
"""The parameter of this type is called `idempotency_key`, and the header `Idempotency-Key`."""

ITEM = {"item": "i07", "label": "The Quiet Bell", "score": 0.83, "way": "adapted"}
_PATH = [
    {"kind": "item", "id": "i00", "label": "The Quiet House"},
    {"relation": "written_by", "label": "written by", "inverse": False},
    {"kind": "entity", "id": "e0", "label": "Mira Voss"},
    {"relation": "written_by", "label": "written by", "inverse": True},
    {"kind": "item", "id": "i07", "label": "The Quiet Bell"},
]
REASON = {"share": 0.4, "text": "liked The Quiet House -> written by Mira Voss -> The Quiet Bell", "path": _PATH}
KEPT = {"accepted": 1, "duplicates": 0}


async def only_known(request: Request) -> None:
    """Refuse a query parameter that a route with parameters does not take: a misspelt one would change nothing, without a word.

    A route without any takes whatever a balancer or a cache may add.

    Raises:
        Refusal: there is such a one.
    """
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = [field.alias for field in route.dependant.query_params]
    unknown = next((name for name in request.query_params if name not in known), None) if known else None
    if unknown is not None:
        place = f"query.{unknown}"[:200].encode("ascii", "replace").decode()
        raise Refusal(422, f"no such parameter; this route takes {', '.join(known)}", field=place)


async def only_text(request: Request) -> None:
    """Refuse an address that is no UTF-8: decoded all the same, different ids would be one.

    Raises:
        Refusal: it is so.
    """
    for name, field in (("raw_path", "path"), ("query_string", "query")):
        raw = request.scope.get(name) or b""
        if b"%" in raw:
            try:
                unquote_to_bytes(raw).decode("utf-8")
            except UnicodeDecodeError:
                raise Refusal(422, "what stands behind % is no UTF-8", field=field) from None


class Router(APIRouter):
    """A router whose routes say what they need, show an example, list every way to fail, and refuse what they do not know."""

    def __init__(self) -> None:
        super().__init__(dependencies=[Depends(only_text), Depends(only_known)])

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


def as_json(value: object) -> Response:
    """Return a value as an answer."""
    return Response(dump(value), media_type="application/json")


def refusing(call: Callable[[], T], field: str = "path.item") -> Callable[[], T]:
    """Turn the engine's errors into answers: the item of `field` is unknown, or the model has no paths to explain by."""

    def run() -> T:
        try:
            return call()
        except DataError as err:
            raise Refusal(404, f"{err.where} is unknown", code="unknown_item", field=field) from err
        except ConfigError as err:
            raise Refusal(422, "this model cannot explain its answers", code="no_explanations") from err

    return run


def not_hidden(state: State, item: str, field: str = "path.item") -> None:
    """Refuse an item that was removed and is still being taken out.

    Raises:
        Refusal: it is such a one.
    """
    if item in state.hidden_items:
        raise Refusal(404, f"item {item!r} is unknown", code="unknown_item", field=field)


async def keep(request: Request, drafts: Sequence[Draft], key: str | None) -> Response:
    """Keep events; a key is one of this caller's, and another caller's may be the same."""
    return as_json(await service(request).keep(drafts, None if key is None else f"{request.state.caller} {key}"))
