"""BPR vectors that several trainings start from: fitted once, and counted in the cost of each.

A start follows from the pairs, the settings, the rows it begins with, the seed, the device, the number of threads, and the
versions of metakg and torch; its key is a hash of all of them. In a folder, where the runs of a comparison share it, it is

KEY/manifest.json       kind, format, the seconds it took, and the hash of the other file
KEY/rows.safetensors    the vectors
KEY.fitting/            log, checkpoints and account of one that is being fitted, or whose fit was stopped
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from metakg import __version__, files
from metakg.data import Interactions
from metakg.errors import DataError
from metakg.train.spent import count, spending, uncounted

_FIX = "Remove it; it is fitted again."


@dataclass(frozen=True, eq=False)
class Start:
    """Fitted vectors.

    Attributes:
        rows: (n, D).
        wall_s: seconds that they took by the clock.
        cpu_s: seconds of the process.
    """

    rows: Tensor
    wall_s: float
    cpu_s: float


class Starts:
    """Starts by their keys: in memory, and in a folder if there is one.

    Args:
        folder: where they are kept, for other processes and later calls too.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._found: dict[str, Start] = {}

    def find(self, key: str) -> Start | None:
        """Return a start, or None where nobody kept it.

        Raises:
            DataError: its files are damaged.
        """
        if key not in self._found and self.folder is not None and (self.folder / key).exists():
            self._found[key] = _read(self.folder / key)
        return self._found.get(key)

    def keep(self, key: str, start: Start) -> None:
        """Keep a start; of one that another process has kept meanwhile, that one stays."""
        self._found[key] = start
        if self.folder is None or (self.folder / key).exists():
            return
        try:
            with files.atomic_folder(self.folder / key, kind="start") as temporary:
                files.save_tensors({"rows": start.rows.cpu().contiguous()}, temporary / "rows.safetensors")
                about = {"kind": "start", "format": 1, "wall_s": start.wall_s, "cpu_s": start.cpu_s}
                files.write_json(temporary / "manifest.json", {**about, "sha256": files.sha256(temporary / "rows.safetensors")})
        except DataError:
            if not (self.folder / key / "manifest.json").exists():
                raise

    def fit(self, key: str, fit: Callable[[Path | None], Tensor]) -> Start:
        """Fit a start and keep it. In a folder one process does at a time; what another one began is gone on with.

        Args:
            key: its name.
            fit: returns its rows; called with the folder for log and checkpoints, or None where nothing is kept.
        """
        place = None if self.folder is None else self.folder / f"{key}.fitting"
        with nullcontext() if place is None else files.alone(place, wait=True):
            found = self.find(key)  # another process may have kept it while we waited
            if found is None:
                with spending(place) as spent:
                    rows = fit(place)
                found = Start(rows.clone(), spent.wall_s, spent.cpu_s)
                self.keep(key, found)
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)
        return found


_SHARED: ContextVar[Starts | None] = ContextVar("shared", default=None)


@contextmanager
def sharing_starts(starts: Starts) -> Iterator[None]:
    """Let trainings that begin with the same BPR vectors fit them once: all that are given these starts, or their folder.

    What a start took is counted in the account (`spending`) of each of them, as if it had fitted it itself.
    """
    token = _SHARED.set(starts)
    try:
        yield
    finally:
        _SHARED.reset(token)


def shared(key: str, fit: Callable[[Path | None], Tensor]) -> Tensor:
    """Return what `fit` returns: from an earlier call inside `sharing_starts` if there was one with this key.

    Args:
        key: of all that it follows from.
        fit: called with the folder for log and checkpoints that all share, or None where there is none.
    """
    starts = _SHARED.get()
    if starts is None:
        return fit(None)
    with uncounted():
        found = starts.find(key) or starts.fit(key, fit)
    count(key, found.wall_s, found.cpu_s)
    return found.rows.clone()


def key_of(pairs: Interactions, n_users: int, n_items: int, config: BaseModel, start: Tensor, seed: int) -> str:
    """Return a name for all that a start follows from (see the module); 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for column in (pairs.users, pairs.items, start.detach().cpu().contiguous().numpy()):
        digest.update(np.ascontiguousarray(column).data)
    where = f"{start.device.type} {torch.get_num_threads()} {__version__} {torch.__version__}"
    digest.update(f"{n_users} {n_items} {start.shape} {config.model_dump_json()} {seed} {where}".encode())
    return digest.hexdigest()


def _read(folder: Path) -> Start:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest, path = files.read_json(folder / "manifest.json", what="manifest of a start"), folder / "rows.safetensors"
    if (manifest.get("kind"), manifest.get("format")) != ("start", 1):
        found = f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}"
        raise DataError(str(folder), found, expected="kind 'start', format 1", fix=_FIX)
    try:
        if files.sha256(path) != manifest["sha256"]:
            raise DataError(str(path), "another hash than its manifest says", expected="the file that was kept", fix=_FIX)
        return Start(load_file(path)["rows"], float(manifest["wall_s"]), float(manifest["cpu_s"]))
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as err:
        raise DataError(str(folder), f"no readable start ({err!r})", expected="what was kept", fix=_FIX) from err
