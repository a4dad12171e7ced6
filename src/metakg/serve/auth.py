"""Keys and roles. A key is kept as the SHA-256 of 32 random bytes, so a stolen key file opens nothing.

A key file has one key a line, `ROLE:NAME:SHA256`; `#` begins a comment. METAKG_KEYS holds the same with spaces between. The
name is what logs show. `metakg keys new` makes one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metakg.errors import ConfigError

Role = Literal["read", "write", "admin"]
RANK: dict[str, int] = {"read": 1, "write": 2, "admin": 3}
"""Who may do more may also do less."""

PUBLIC = frozenset({"/", "/api/health/live", "/api/health/ready", "/api/docs", "/api/openapi.json"})
"""What needs no key, beside the page's files under /static/: nothing in them is anybody's."""
_READS = frozenset({"/api/session/recommend", "/api/session/explain", "/api/items/preview"})
"""Asked with POST, since the question is long; nothing is kept."""
_WRITES = ("/api/feedback", "/api/users/", "/api/items/", "/api/triples")

_LINE = re.compile(r"(read|write|admin):([A-Za-z0-9._-]{1,64}):([0-9a-f]{64})")
_FIX = "Make a line with `metakg keys new`."


@dataclass(frozen=True)
class Key:
    """Whom a request comes from: a name for the log, and what he may do."""

    name: str
    role: Role


def needed(method: str, path: str) -> Role | None:
    """Return the role that a request needs; None where it needs no key. What is not named here needs `admin`."""
    if method in ("GET", "HEAD") and (path in PUBLIC or path.startswith("/static/")):
        return None
    if path.startswith("/api/admin/"):
        return "admin"
    if method in ("GET", "HEAD"):
        return "read"
    if method == "POST" and path in _READS:
        return "read"
    return "write" if path.startswith(_WRITES) else "admin"


def new_key() -> tuple[str, str]:
    """Return a new secret, and its digest for the key file."""
    secret = secrets.token_urlsafe(32)
    return secret, _digest(secret)


class Keys:
    """The keys of a service; without any, everything is open to this machine (see `gate`).

    Args:
        lines: as in a key file.
        where: what to call their source in errors.

    Raises:
        ConfigError: a line is no key, or a name or digest occurs twice.
    """

    def __init__(self, lines: Iterable[str], where: str = "keys") -> None:
        self._digests: list[tuple[bytes, Key]] = []
        names: set[str] = set()
        digests: set[str] = set()
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            match = _LINE.fullmatch(text)
            if match is None:  # the line itself may be a secret that was pasted by mistake: it is not shown
                raise ConfigError(f"{where} line {number}", "no key", expected="ROLE:NAME:SHA256", fix=_FIX)
            role, name, digest = match.groups()
            if name in names or digest in digests:
                raise ConfigError(f"{where} line {number}", f"{name!r} again", expected="each name and key once", fix=_FIX)
            names.add(name)
            digests.add(digest)
            self._digests.append((bytes.fromhex(digest), Key(name, role)))  # type: ignore[arg-type]  # matched above

    @staticmethod
    def load(file: Path | None, environment: str | None) -> Keys:
        """Read a key file, the environment's keys, or both.

        Raises:
            ConfigError: the file cannot be read, others may write to it, it is empty, or a line is no key.
        """
        lines: list[str] = []
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
                mode = file.stat().st_mode
            except (OSError, UnicodeDecodeError) as err:
                raise ConfigError(f"--keys {file}", str(err), expected="a key file", fix=_FIX) from err
            if mode & (stat.S_IWGRP | stat.S_IWOTH):
                fix = "Run chmod go-w on it: whoever can write to it can let himself in."
                raise ConfigError(f"--keys {file}", "a file that others may write", expected="one of yours alone", fix=fix)
        given = file is not None or environment is not None
        keys = Keys([*lines, *(environment or "").split()], where="METAKG_KEYS" if file is None else str(file))
        if given and not keys:
            # somebody meant to lock the door: an empty list must not open it
            raise ConfigError("keys", "an empty list", expected="at least one key", fix=_FIX)
        return keys

    def __bool__(self) -> bool:
        return bool(self._digests)

    def find(self, secret: str) -> Key | None:
        """Return whose secret it is. Takes equally long for every wrong one."""
        digest = bytes.fromhex(_digest(secret))
        found = None
        for known, key in self._digests:
            if hmac.compare_digest(known, digest):
                found = key
        return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_loopback(host: str) -> bool:
    """Return whether an address leads to this machine only. A name other than localhost may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
