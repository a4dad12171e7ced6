"""A `metakg serve` in a process of its own, as users run it: for tests and benchmarks that stop, kill and starve it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from metakg.heap import resident_bytes


class Running:
    """A server process; killed at the end of its context if it still runs.

    Args:
        bundle: what it serves.
        words: more words of its command line.
        environment: more of its environment.
        prefix: words before the command, such as `prlimit --fsize=1000000`.
        patience_s: longest wait for a start.
        ready: wait until it is ready, not only until it listens.
    """

    def __init__(
        self,
        bundle: Path,
        *words: object,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        patience_s: float = 120.0,
        ready: bool = True,
    ) -> None:
        command = [*prefix, sys.executable, "-m", "metakg.cli.main", "serve", str(bundle), "--port", "0"]
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed with the process; it appends, wherever we read
        self.process = subprocess.Popen(
            [*command, *(str(word) for word in words)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = line.rpartition(" at ")[2].strip()
        self.host, _, port = self.url.rpartition("//")[2].rpartition(":")
        if not port:
            self.process.wait()
            text = self.log()
            self.close()
            raise RuntimeError(f"the server did not start: {text[-2000:]}")
        self.port = int(port)
        if ready:
            self.wait_ready(patience_s)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def wait_ready(self, patience_s: float = 120.0) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: it ended, or did not get ready in time.
        """
        end = time.monotonic() + patience_s
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.ask("GET", "/api/health/ready", timeout_s=2)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the server did not get ready: {self.log()[-2000:]}")

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> tuple[int, Any]:
        """Send one request; return the status and the body, read as JSON where it is.

        Raises:
            OSError: there was no answer, or not the whole of it.
        """
        data = None if body is None else json.dumps(body).encode()
        more = {} if body is None else {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, {**more, **(headers or {})}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as err:
            with err:
                return err.code, _read(err.read())
        except http.client.HTTPException as err:  # it ended in the middle of its answer: nothing was acknowledged
            raise ConnectionResetError(str(err)) from err

    def memory_bytes(self) -> int:
        """Return its memory in RAM (Linux)."""
        return resident_bytes(self.pid)

    def cpu_s(self) -> float:
        """Return the processor time that it has used (Linux)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """Return what it has logged."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def kill(self) -> None:
        """End it without a chance to say anything."""
        self.process.kill()
        self.process.wait()

    def stop(self, patience_s: float = 60.0) -> int:
        """Ask it to stop, wait, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience_s)

    def close(self) -> None:
        """Put everything away."""
        if self.process.poll() is None:
            self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
