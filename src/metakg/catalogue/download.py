"""One URL to one `.part` file: resumed where it stopped, retried when the network falters, never trusted beyond http(s).

The bytes go to `NAME.part`; beside it `NAME.part.json` holds the address and the server's validator (ETag or Last-Modified).
A later run asks for the rest with `Range` and `If-Range`, so a file that changed in between starts afresh instead of becoming
two halves of two files. Without a validator a part is continued only if the caller can verify the whole afterwards.

Retried, with doubling pauses: refused and cut connections, timeouts, bodies shorter than announced, and the statuses below. An
attempt that brought bytes does not count. Everything else (404, a certificate that does not fit) is an error at once.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from metakg import files
from metakg.errors import DataError

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK = 1 << 18

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes there are so far and the bytes expected (None if nobody knows)."""


@dataclass(frozen=True)
class Patience:
    """How long to go on.

    Attributes:
        attempts: attempts without a single new byte before giving up.
        pause_s: seconds before the second attempt; doubled each time.
        longest_pause_s: no pause is longer, whatever the server's Retry-After says.
        timeout_s: seconds of silence after which a connection counts as dead.
        sleep: waits; tests put a clock of their own here.
    """

    attempts: int = 5
    pause_s: float = 1.0
    longest_pause_s: float = 60.0
    timeout_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep


class _Faltered(Exception):  # noqa: N818 - not an error yet: the next attempt may succeed
    """This attempt failed in a way that the next may not.

    Attributes:
        retry_after_s: the pause that the server asked for, if it did.
    """

    def __init__(self, found: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(found)
        self.retry_after_s = retry_after_s


def part_of(target: Path) -> Path:
    """Return where the bytes of an unfinished `target` lie."""
    return target.with_name(target.name + ".part")


def discard_part(target: Path) -> None:
    """Remove an unfinished download and its note."""
    part_of(target).unlink(missing_ok=True)
    _note_of(target).unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    size: int | None,
    verifiable: bool,
    patience: Patience,
    on_bytes: OnBytes | None = None,
) -> Path:
    """Fetch `url` into the part file of `target` and return that file, whole but not yet verified or renamed.

    Args:
        url: an http or https address.
        target: the final path; only its neighbour `.part` is written.
        size: the bytes expected, or None.
        verifiable: the caller will compare a checksum, so a part without a server's validator may be continued.
        patience: retries and timeouts.
        on_bytes: told how far it is.

    Raises:
        DataError: the address is not http(s), the server refuses, the disk is full, or patience ran out. What was received
            stays in the part file, and the next call goes on from there.
    """
    _require_http(url)
    part = part_of(target)
    with files.writing(target):
        part.parent.mkdir(parents=True, exist_ok=True)
    idle, pause_s = 0, patience.pause_s
    while True:
        before = _length(part)
        try:
            _attempt(url, target, size=size, verifiable=verifiable, timeout_s=patience.timeout_s, on_bytes=on_bytes)
        except _Faltered as err:
            if _length(part) > before:
                idle, pause_s = 0, patience.pause_s
            idle += 1
            if idle >= patience.attempts:
                raise DataError(
                    f"downloading {url}",
                    f"{err}, at the last of {idle} attempts",
                    expected="the file",
                    fix="Run the same command again later, it goes on where it stopped; or name a mirror.",
                ) from err
            patience.sleep(min(err.retry_after_s or pause_s, patience.longest_pause_s))
            pause_s *= 2
        else:
            return part


def _attempt(url: str, target: Path, *, size: int | None, verifiable: bool, timeout_s: float, on_bytes: OnBytes | None) -> None:
    """Try once to bring the part file to its full length.

    Raises:
        _Faltered: it may work next time.
        DataError: it will not.
    """
    part = part_of(target)
    start, validator = _resumable(target, url, verifiable=verifiable)
    if start and start == size:
        return  # a run was killed between the last byte and the renaming
    headers = {"User-Agent": "metakg", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    with _opened(urllib.request.Request(url, headers=headers), url, timeout_s) as answer:
        if answer is None:  # 416: our part is as long as the file, or longer: begin again and let the size decide
            discard_part(target)
            raise _Faltered("a part that does not belong to the file any more")
        _refuse_encoded(answer, url, target)
        if answer.status == http.client.PARTIAL_CONTENT:
            whole = _range_total(answer, url, start)
        else:
            start, whole = 0, _number(answer.headers.get("Content-Length"))
        if size is not None and whole is not None and whole != size:
            raise DataError(
                url,
                f"{whole:,} bytes",
                expected=f"{size:,} bytes",
                fix="The publisher replaced the file or a proxy answers in its place; look at the address in a browser.",
            )
        _require_space(part, (whole or size or 0) - start)
        _write_note(target, url, answer)
        _receive(answer, part, start=start, whole=size if whole is None else whole, on_bytes=on_bytes)


@contextmanager
def _opened(request: urllib.request.Request, url: str, timeout_s: float) -> Iterator[Any]:
    """Yield the server's answer (None for status 416), with network troubles sorted into `_Faltered` and `DataError`."""
    try:
        answer = _opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as err:
        with err:
            if err.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                yield None
                return
            if err.code in _TRANSIENT:
                raise _Faltered(f"HTTP {err.code}", retry_after_s=_number(err.headers.get("Retry-After"))) from err
            raise DataError(
                f"downloading {url}",
                f"HTTP {err.code} {err.reason}",
                expected="the file",
                fix="The publisher may have moved it: see the data set's page (metakg data show NAME), or name a mirror.",
            ) from err
    except urllib.error.URLError as err:
        if isinstance(err.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"downloading {url}",
                f"a certificate that does not fit ({err.reason.verify_message})",
                expected="the publisher's certificate",
                fix="Do not trust this answer. Check the clock and the proxy of this machine, or name a mirror.",
            ) from err
        raise _Faltered(f"no connection ({err.reason})") from err
    except (OSError, http.client.HTTPException) as err:
        raise _Faltered(f"no answer ({err})") from err
    with answer:
        yield answer


class _HttpOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) alone, and never from https down to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme == "http":
            fp.close()
            raise DataError(
                f"downloading {req.full_url}",
                f"a redirect to plain http ({newurl})",
                expected="https all the way",
                fix="Name a mirror that answers over https.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> Any:
        # the base class refuses file: and the like with an HTTPError of its own; ours names both ends
        location = headers.get("location") or headers.get("uri")
        if location and urlsplit(location).scheme not in ("", "http", "https"):
            fp.close()
            _require_http(location, named_by=req.full_url)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that knows http(s) and the machine's proxies, and nothing else (no file:, no ftp:, no data:)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpOnly(),
    ):
        opener.add_handler(handler)
    return opener


def _require_http(url: str, *, named_by: str | None = None) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise DataError(
            f"downloading {named_by or url}",
            f"a redirect to {url}" if named_by else "another kind of address",
            expected="an http or https address",
            fix="Check the address of the mirror." if named_by is None else "Do not trust this server; name a mirror.",
        )


def _refuse_encoded(answer: Any, url: str, target: Path) -> None:
    """Refuse a body in another encoding than asked for; a `.gz` labelled as gzip is what it says and stays as it is."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and not (encoding == "gzip" and target.suffix == ".gz"):
        raise DataError(
            f"downloading {url}",
            f"a body in encoding {encoding!r}",
            expected="the plain bytes that were asked for",
            fix="A proxy or mirror recompresses files; name another.",
        )


def _range_total(answer: Any, url: str, start: int) -> int | None:
    """Return the length of the whole file from `Content-Range: bytes start-end/total`, after comparing `start`."""
    text = answer.headers.get("Content-Range", "")
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes" or _number(span.partition("-")[0]) != start:
        raise DataError(
            f"downloading {url}",
            f"Content-Range {text!r}",
            expected=f"the bytes from {start}, as asked for",
            fix="The server does not resume correctly; remove the .part file, or name a mirror.",
        )
    return _number(total)


def _receive(answer: Any, part: Path, *, start: int, whole: int | None, on_bytes: OnBytes | None) -> None:
    """Append the body to the part file from byte `start`, and compare its length with what was announced."""
    have = start
    with _disk(part, whole), part.open("r+b" if start else "wb", buffering=0) as handle:
        handle.seek(start)
        if start:
            handle.truncate()
        while True:
            if on_bytes:
                on_bytes(have, whole)
            try:
                chunk = answer.read(_CHUNK)
            except (OSError, http.client.HTTPException) as err:
                raise _Faltered(f"a cut connection after {have:,} bytes ({err})") from err
            if not chunk:
                break
            view = memoryview(chunk)
            while view:
                view = view[handle.write(view) :]
            have += len(chunk)
        os.fsync(handle)
    if whole is not None and have < whole:
        raise _Faltered(f"a body of {have:,} of {whole:,} bytes")


@contextmanager
def _disk(part: Path, whole: int | None) -> Iterator[None]:
    """Turn a full disk into an error that says the truth: what was received is kept."""
    try:
        yield
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            with files.writing(part):
                raise
        need = f"{whole:,} bytes in all" if whole else "more room"
        raise DataError(
            f"writing {part}",
            "a full disk",
            expected=need,
            fix="Free some space and run the same command again; it goes on where it stopped.",
        ) from err


def _require_space(part: Path, missing: int) -> None:
    """Refuse a download that cannot fit, before its first byte."""
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DataError(
            f"writing {part}",
            f"{free:,} bytes free",
            expected=f"{missing:,} bytes",
            fix="Free some space, or name a folder on another disk.",
        )


def _note_of(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def _write_note(target: Path, url: str, answer: Any) -> None:
    """Write down what the part is a part of, before its first byte."""
    etag = answer.headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None  # If-Range takes no weak validator (RFC 9110, 13.1.5)
    files.write_json(_note_of(target), {"url": url, "validator": strong or answer.headers.get("Last-Modified")})


def _resumable(target: Path, url: str, *, verifiable: bool) -> tuple[int, str | None]:
    """Return how many bytes of the part can be built upon, and the validator that goes with them."""
    have = _length(part_of(target))
    if not have:
        return 0, None
    try:
        note = json.loads(_note_of(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        note = {}  # a part of unknown origin is not built upon; it is overwritten
    if not isinstance(note, dict) or note.get("url") != url:
        return 0, None
    validator = note.get("validator")
    if not isinstance(validator, str) and not verifiable:
        return 0, None
    return have, validator if isinstance(validator, str) else None


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isascii() and text.strip().isdigit() else None
