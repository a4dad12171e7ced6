"""`create_app`: routes, page, gate and errors together. Nothing happens at import, and nothing is global."""

from __future__ import annotations

from collections.abc import Sequence
from os import stat_result
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from metakg import __version__
from metakg.serve.auth import Keys
from metakg.serve.gate import Gate, Refusal, error_body
from metakg.serve.pool import Busy
from metakg.serve.reference import page
from metakg.serve.routes import ROUTERS
from metakg.serve.service import Service

STATIC = Path(__file__).parent / "static"
_ABOUT = (
    "Recommend from the first click, with a knowledge graph, and say why. Every answer that is no success has the form "
    '`{"error": {"code", "message", "field", "retry_after_s"}}`.'
)


def create_app(service: Service, keys: Keys) -> FastAPI:
    """Return the web application.

    Args:
        service: engine, store and limits.
        keys: who may come; without any, only this machine may.
    """
    app = FastAPI(
        title="metakg",
        version=__version__,
        description=_ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Gate, keys=keys, limits=service.limits, metrics=service.metrics)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Busy, _busy)
    _describe(app)
    if STATIC.is_dir():
        app.mount("/static", Files(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        """The page."""
        file = STATIC / "index.html"
        if not file.is_file():
            raise Refusal(404, "this installation has no page")
        return Response(file.read_bytes(), media_type="text/html; charset=utf-8")

    return app


class Files(StaticFiles):
    """The page's files, with the types that browsers insist on whatever the machine's own table says."""

    def lookup_path(self, path: str) -> tuple[str, stat_result | None]:
        """Return a file within the folder; a name that no file can have is none."""
        return ("", None) if "\0" in path else super().lookup_path(path)

    def file_response(self, full_path: Any, stat_result: stat_result, scope: Scope, status_code: int = 200) -> Response:
        """Return one file."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        kinds = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        kind = kinds.get(Path(full_path).suffix)
        if kind is not None and response.status_code == 200:
            response.headers["content-type"] = f"{kind}; charset=utf-8"
        return response


def _describe(app: FastAPI) -> None:
    """Add the description of the interface, for machines and for people."""
    schema: dict[str, Any] = {}

    def described() -> dict[str, Any]:
        if not schema:
            made = FastAPI.openapi(app)
            scheme = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
            made.setdefault("components", {})["securitySchemes"] = scheme
            schema.update(made)
        return schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend its schema

    @app.get("/api/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        """The description for machines."""
        from metakg.serve.answers import dump

        return Response(dump(described()), media_type="application/json")

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> Response:
        """The description for people."""
        return Response(page(described()), media_type="text/html; charset=utf-8")


async def _refused(_: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    headers = dict(err.headers or {})
    if err.status_code == 400 and not isinstance(err, Refusal):  # FastAPI's answer to bytes that are no text, or too deep
        err = Refusal(422, "no valid JSON", field="body")
    if err.status_code in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not waited for
    body = err.body if isinstance(err, Refusal) else error_body(err.status_code, str(err.detail))
    return Response(body, err.status_code, headers, media_type="application/json")


async def _busy(_: Request, err: Exception) -> Response:
    assert isinstance(err, Busy)
    body = error_body(503, err.reason, code="busy", retry_after_s=err.retry_after_s)
    return Response(body, 503, {"Retry-After": str(err.retry_after_s)}, media_type="application/json")


async def _invalid(_: Request, err: Exception) -> Response:
    """Name the field and what is wrong with it; what was sent is not repeated, since it may be anything."""
    assert isinstance(err, RequestValidationError)
    errors: Sequence[Any] = err.errors()
    first = errors[0]
    place = _place(first["loc"])
    message = str(first["msg"]) if first["type"] != "json_invalid" else "no valid JSON"
    if len(errors) > 1:
        message += f" (and {len(errors) - 1} more)"
    if first["type"] == "too_long" and place.startswith(("body", "query")):
        return Response(error_body(413, message, code="too_many", field=place), 413, media_type="application/json")
    return Response(error_body(422, message, field=place), 422, media_type="application/json")


def _place(loc: Sequence[str | int]) -> str:
    """Return where a fault lies, as `body.3.item`; names that only our own unions have are left out."""
    parts = [str(part) for place, part in enumerate(loc) if not (place == 1 and part in ("many", "one"))]
    return ".".join(parts)[:200].encode("ascii", "replace").decode()
