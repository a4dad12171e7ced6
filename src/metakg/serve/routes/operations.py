"""The service itself, for whoever runs it: how it is, another bundle, a backup, figures for Prometheus."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

from fastapi import Request, Response

from metakg.errors import DataError, MetakgError, StoreError
from metakg.serve import schemas
from metakg.serve.gate import Refusal
from metakg.serve.routes.common import Router, as_json
from metakg.serve.service import service
from metakg.store import backup
from metakg.types import Json

router = Router()


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

    return as_json(await shared.ask(make))


@router.describe("GET", "/api/health/live", "Alive", schemas.Health, {"status": "live"})
async def live() -> Response:
    """The process answers."""
    return as_json({"status": "live"})


@router.describe("GET", "/api/health/ready", "Ready", schemas.Health, {"status": "ready"}, fails=(503,))
async def ready(request: Request) -> Response:
    """The bundle is loaded, everything in the store is applied, and answers are warm. Not while it stops."""
    shared = service(request)
    _ = shared.state
    if shared.stopping:
        raise Refusal(503, "the server is stopping", code="not_ready", retry_after_s=5)
    return as_json({"status": "ready"})


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
    return as_json({"bundle": folder.name, "version": state.version, "took_s": took_s})


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
    if (await request.body()).strip() not in (b"", b"{}"):
        raise Refusal(422, "this route takes no body; the file's name is its moment", field="body")
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
    return as_json({"file": file.name, **made})


@router.describe("GET", "/metrics", "Figures for Prometheus", str, "metakg_requests_total{...} 1843.0")
async def metrics(request: Request) -> Response:
    """Text in Prometheus' format."""
    return Response(service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


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
