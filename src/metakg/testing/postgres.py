"""A PostgreSQL of one's own, from the machine's binaries, in a temporary folder, on a socket only.

with Postgres.start() as server:
    Store(server.url())

PostgreSQL refuses to run as root, so root runs it as `postgres` or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote
from uuid import uuid4

from metakg.errors import StoreError

_FIX = "Install PostgreSQL (Debian: apt-get install postgresql)."
_PATIENCE_S = 30


def binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`: the newest of Debian's, else what the path leads to; None if none."""
    versions = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if (p / "postgres").exists()]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class Postgres:
    """A running server; ends with its context.

    Args:
        folder: a new folder of its own.
        tools: where the binaries lie.
        durable: wait for the disk, as in service. Tests that never cut the power save the time.
    """

    def __init__(self, folder: Path, tools: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self._durable = durable
        self._tools = tools
        self._process: subprocess.Popen[bytes] | None = None
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = next(name for name in ("postgres", "nobody") if _exists(name))
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
            folder.chmod(0o755)
        self._run("initdb", "-D", folder / "data", "-U", "metakg", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.go()

    @classmethod
    def start(cls, *, durable: bool = True) -> Postgres:
        """Make and start a server (see the class).

        Raises:
            StoreError: there are no binaries, or it does not start.
        """
        tools = binaries()
        if tools is None:
            raise StoreError("PostgreSQL", "no binaries", expected="initdb and postgres", fix=_FIX)
        return cls(Path(tempfile.mkdtemp(prefix="metakg-pg-")), tools, durable=durable)

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://metakg@/{database}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"metakg_{uuid4().hex[:12]}"
        self._run("createdb", "-h", self.folder, "-U", "metakg", name)
        return self.url(name)

    def go(self) -> None:
        """Start it, and wait until it answers."""
        command: list[object] = [
            self._tools / "postgres",
            "-D",
            self.folder / "data",
            "-k",
            self.folder,
            "-c",
            "listen_addresses=",
        ]
        command += [] if self._durable else ["-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command], user=self._user, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            ready = [str(self._tools / "pg_isready"), "-q", "-h", str(self.folder), "-U", "metakg", "-d", "postgres"]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise StoreError("PostgreSQL", (self.folder / "log").read_text()[-500:], expected="a start", fix="Read its log.")

    def stop(self, *, kill: bool = False) -> None:
        """Stop it: connections are cut; with `kill` as if the power had failed."""
        if self._process is None:
            return
        if kill:
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(_PATIENCE_S)
        self._process = None

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, tool: str, *words: object) -> None:
        command = [str(self._tools / tool), *(str(word) for word in words)]
        done = subprocess.run(command, user=self._user, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise StoreError(f"PostgreSQL, {tool}", done.stderr.strip()[-500:], expected="success", fix=_FIX)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
