"""`Gate`: what every request passes before anything of it is read.

In this order: who is it (401, 403), how often does he come (429), how much does he send (413) and how slowly (408). Behind it
the answer is counted, logged and given its headers, and an exception becomes an answer without a trace of itself.

A service without keys answers this machine only. A browser on this machine may be led here by any page it shows, so such a
service also wants a Host of this machine (a name that was pointed here fails), no other page's Origin, and no mark of a proxy,
behind which the callers would be strangers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metakg.serve.auth import RANK, Keys, is_loopback, needed
from metakg.serve.limits import Buckets, Limits
from metakg.serve.metrics import Metrics
from metakg.serve.schemas import SLASH

LOG = logging.getLogger("metakg.request")
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_PROXIED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
_CODES = {
    400: "malformed",
    401: "no_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "not_json",
    421: "wrong_host",
    422: "invalid",
    429: "too_many_requests",
    431: "too_large",
    500: "internal",
    503: "unavailable",
}


def error_body(
    status: int, message: str, *, code: str | None = None, field: str | None = None, retry_after_s: int | None = None
) -> bytes:
    """Return the body of every answer that is no success."""
    code = code or _CODES.get(status, "error")
    error = {"code": code, "message": message, "field": field, "retry_after_s": retry_after_s}
    return json.dumps({"error": error}).encode()


class Refusal(HTTPException):
    """An answer that is no success.

    Attributes:
        code: for machines.
        field: the field at fault.
        retry_after_s: when to come back.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(status, message, {"Retry-After": str(retry_after_s)} if retry_after_s is not None else None)
        self.body = error_body(status, message, code=code, field=field, retry_after_s=retry_after_s)


class Gate:
    """The outermost layer of the app.

    Args:
        app: what lies behind.
        keys: who may come; without any, only this machine may.
        limits: how much, how often, how long.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, keys: Keys, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._keys = keys
        self._limits = limits
        self._metrics = metrics
        self._rate = Buckets(limits.rate, limits.burst)
        self._failures = Buckets(limits.failures, 10 * limits.failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._limits, private=not scope["path"].startswith("/static/"))
        begin = time.perf_counter()
        who = "-"
        scope["path"] = _path(scope)
        try:
            who = self._admit(scope)
            scope.setdefault("state", {})["caller"] = who
            exchange.expect(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except (ConnectionError, TimeoutError):
            pass  # the client is gone, or takes nothing: there is nobody to tell, and the server cuts an unfinished answer
        except Exception:
            LOG.exception("a request failed", extra={"route": _route(scope)})
            await exchange.refuse(Refusal(500, "something went wrong on our side; it was logged"))
        finally:
            seconds = time.perf_counter() - begin
            route, status = _route(scope), exchange.status or 499
            self._metrics.request(route, _method(scope), status, seconds)
            LOG.info(
                "request",
                extra={
                    "route": route,
                    "method": _method(scope),
                    "status": status,
                    "ms": round(1000 * seconds, 2),
                    "key": who,
                },
            )

    def _admit(self, scope: Scope) -> str:
        """Return the name of whoever asks.

        Raises:
            Refusal: he may not.
        """
        address = scope["client"][0] if scope.get("client") else "-"
        role = needed(scope["method"], scope["path"])
        given = [value for name, value in scope["headers"] if name == b"x-api-key"]
        who, caller = "-", address
        if not self._keys:
            _only_this_machine(scope)
        elif role is not None:
            key = self._keys.find(given[0].decode("latin-1")) if len(given) == 1 else None
            if key is None:
                wait_s = self._failures.wait_s(address) if given else 0.0
                if wait_s:
                    raise Refusal(429, "too many wrong keys from this address", retry_after_s=math.ceil(wait_s))
                raise Refusal(401, "no valid key: send one in the header X-API-Key")
            if RANK[key.role] < RANK[role]:
                raise Refusal(403, f"this needs a key of role {role}")
            who, caller = key.name, f"key {key.name}"
        wait_s = self._rate.wait_s(caller)
        if wait_s:
            raise Refusal(429, "too many requests of this caller", retry_after_s=math.ceil(wait_s))
        return who


class _Exchange:
    """Both directions of one request, with an eye on size and time."""

    def __init__(self, receive: Receive, send: Send, limits: Limits, *, private: bool) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._private = private
        self._left = limits.body_bytes
        self._end_s = time.monotonic() + limits.body_s
        self._whole = False
        self.status: int | None = None

    def expect(self, scope: Scope) -> None:
        """Refuse by what the head announces.

        Raises:
            Refusal: the body is too large, or of another kind than JSON.
        """
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._limits.body_bytes:
            raise Refusal(413, f"a body of more than {self._limits.body_bytes} bytes")
        has_body = length != b"0" or b"transfer-encoding" in headers
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if has_body and kind != b"application/json":
            # a page of another site may send text without asking its browser's leave, but not this
            raise Refusal(415, "send JSON, with the header Content-Type: application/json")

    async def receive(self) -> Message:
        """Return the next piece of the request.

        Raises:
            Refusal: it is too large or comes too slowly.
        """
        if self._whole:  # now it is the answer that takes time, not the client
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._end_s - time.monotonic()))
        except TimeoutError as err:
            raise Refusal(408, "the body came too slowly") from err
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise Refusal(413, f"a body of more than {self._limits.body_bytes} bytes")
            self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send the next piece of the answer.

        Raises:
            TimeoutError: the client takes nothing.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [*HEADERS, (b"cache-control", b"no-store" if self._private else b"no-cache")]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await asyncio.wait_for(self._send(message), self._limits.send_s)

    async def refuse(self, refusal: Refusal) -> None:
        """Send a refusal, if nothing was sent yet; a body that is still coming is not waited for."""
        if self.status is not None:
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(refusal.body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in (refusal.headers or {}).items()]
        if not self._whole:
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
        await self.send({"type": "http.response.body", "body": refusal.body})


def _only_this_machine(scope: Scope) -> None:
    """Let only this machine in.

    Raises:
        Refusal: the request was led here by somebody else.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(_name(host)):
        raise Refusal(421, "a service without keys answers to localhost only; start it with --keys")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") not in (f"http://{host}", f"https://{host}"):
        raise Refusal(403, "a service without keys answers no other site's pages; start it with --keys")
    if any(name in headers for name in _PROXIED):
        raise Refusal(403, "a service without keys answers no proxy; start it with --keys")


def _name(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _path(scope: Scope) -> str:
    """Return the path with a slash inside one of its parts (`%2F`) kept apart from those between them: ids may hold one."""
    raw: bytes | None = scope.get("raw_path")
    scope["path"] = scope["path"].replace(SLASH, "\0")  # sent as such it is no slash, and no part of an id either
    if raw is None or b"%2f" not in raw.lower() or not scope["path"].startswith("/api/"):
        return str(scope["path"])
    parts = raw.partition(b"?")[0].split(b"/")
    return "/".join(
        unquote_to_bytes(part).decode("utf-8", "replace").replace(SLASH, "\0").replace("/", SLASH) for part in parts
    )


def _route(scope: Scope) -> str:
    """Return the template of the route: never what was asked for."""
    route: Any = scope.get("route")
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    if template is None:
        return "/static" if scope["path"].startswith("/static/") else "other"
    return str(template)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
