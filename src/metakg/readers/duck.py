"""One DuckDB connection for one job: bounded memory, spill folder, UTC, no network; and its errors in our words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from metakg.errors import DataError, MetakgError
from metakg.files import writing
from metakg.readers.options import ReadOptions
from metakg.readers.scan import open_bytes

if TYPE_CHECKING:
    import duckdb


@contextmanager
def connect(options: ReadOptions, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory database that spills into the folder `spill`, and close it afterwards."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": options.memory,
        "temp_directory": str(spill),
        "preserve_insertion_order": "true",  # the n-th row of a table is the n-th line of its file
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",  # a mistyped table name must never find a Python variable
    }
    if options.threads is not None:
        config["threads"] = options.threads
    with translated():
        connection = duckdb.connect(config=config)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        yield connection
    finally:
        connection.close()


@contextmanager
def spill_folder(options: ReadOptions, default: Path) -> Iterator[Path]:
    """Yield an empty folder for what does not fit into memory, this run's alone, and remove it afterwards.

    Raises:
        DataError: the folder that `spill_to` names cannot be written.
    """
    parent = options.spill_to or default
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix="metakg-spill-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def translated(path: Path | None = None) -> Iterator[None]:
    """Turn DuckDB's errors into a `DataError`.

    Args:
        path: the file being read. Without it only what the machine does (memory, disk) is translated: any other error would
            be a mistake in our SQL and must stay visible as such.
    """
    import duckdb

    try:
        yield
    except MetakgError:
        raise
    except (duckdb.InterruptException, RuntimeError) as err:
        if "interrupt" in str(err).lower():
            raise KeyboardInterrupt from err  # Ctrl-C while DuckDB was at work
        raise
    except duckdb.Error as err:
        text = str(err)
        found = _machine(text) or (_file(path, text) if path is not None else None)
        if found is None:
            raise
        raise found from err


def _machine(text: str) -> DataError | None:
    """Return the error of a machine that lacks memory or disk space, or None."""
    if "No space left" in text or "max_temp_directory_size" in text or "Disk quota exceeded" in text:
        return DataError(
            "writing temporary data",
            "a full disk",
            expected="free space",
            fix="Free some space, or name another folder for temporary data (--spill-to); nothing was left behind.",
        )
    if text.startswith("Out of Memory Error") or "failed to allocate" in text.lower():
        return DataError(
            "memory",
            "too little for this data",
            expected="more than the limit that was set",
            fix="Raise --memory (or lower --threads, since each thread needs its own share); nothing was left behind.",
        )
    if "Could not write" in text or "Failed to create directory" in text or "duckdb_temp" in text:
        return DataError(
            "writing temporary data",
            text.splitlines()[0],
            expected="a folder that can be written",
            fix="Name another folder for temporary data (--spill-to).",
        )
    return None


def _odd_line_end(path: Path) -> int | None:
    """Return the first line, from 1, that ends otherwise than line 1; None if there is none."""
    with open_bytes(path) as handle:
        first = None
        for number, line in enumerate(handle, start=1):
            if line.endswith(b"\n"):  # the last line may lack it
                windows = line.endswith(b"\r\n")
                first = windows if first is None else first
                if windows != first:
                    return number
    return None


def _file(path: Path, text: str) -> DataError:
    """Return the error of one file."""
    line = re.search(r"CSV Error on Line: (\d+)", text)
    where = f"{path} line {line.group(1)}" if line else str(path)
    first = re.sub(r"^[A-Za-z ]+ Error: ", "", text.strip().splitlines()[0]) if text.strip() else "an unknown fault"
    if "GZIP stream" in text or "gzip" in text.lower() or "zstd" in text.lower():
        return DataError(
            where, f"a damaged or cut-off compressed file ({first})", expected="a whole file", fix="Fetch it again."
        )
    if "state machine" in text and (odd := _odd_line_end(path)) is not None:
        return DataError(
            f"{path} line {odd}",
            "a line that ends otherwise than the first",
            expected="one kind of line ends (LF as on Linux, or CR LF as on Windows)",
            fix="Make them alike, for example: dos2unix FILE.",
        )
    if "Maximum line size" in text or "maximum_object_size" in text:
        return DataError(
            where, "a line that is too long", expected="one record a line", fix="Look for a missing line break or quote."
        )
    return DataError(where, first, expected="a file that can be read", fix="Restore the file, or name its format.")
