"""Where a training run reports to: JSON lines always, TensorBoard and MLflow where they are installed and asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from metakg import files
from metakg.errors import missing_extra
from metakg.nesting import flat
from metakg.types import Json


class Sink(Protocol):
    """Takes one record a time: a JSON object with at least `step` and `event`."""

    def write(self, record: Json) -> None:
        """Take a record."""

    def close(self) -> None:
        """Flush and close."""


class JsonLines:
    """One JSON object a line. A resumed run forgets what was logged after its checkpoint, so that no step occurs twice.

    Args:
        path: the file; made if absent.
        after_step: keep records up to this step; 0 starts afresh.
    """

    def __init__(self, path: Path, *, after_step: int = 0) -> None:
        kept = ""
        if after_step and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= after_step)
        with files.atomic_file(path) as temporary:
            temporary.write_text(kept, encoding="utf-8")
        self.path = path
        self._handle = path.open("ab", buffering=0)

    def write(self, record: Json) -> None:
        """Append one line at once, so that `tail -f` shows it.

        Raises:
            DataError: it cannot be written.
        """
        line = memoryview((json.dumps(record, ensure_ascii=False) + "\n").encode())
        with files.writing(self.path):
            while line:
                line = line[self._handle.write(line) or 0 :]

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


class TensorBoard:
    """Numbers of each record as TensorBoard scalars (the extra `tensorboard`)."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as err:
            raise missing_extra("log", "tensorboard", err) from err
        self._writer: Any = SummaryWriter(str(folder))

    def write(self, record: Json) -> None:
        """Add the record's numbers."""
        for name, value in numbers(record).items():
            self._writer.add_scalar(f"{record['event']}/{name}", value, record["step"])

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class MLflow:
    """Numbers of each record as metrics of the active MLflow run, or of one that this starts (the extra `mlflow`).

    MLflow itself says where to: `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`.
    """

    def __init__(self) -> None:
        try:
            import mlflow  # type: ignore[import-not-found,unused-ignore]
        except ImportError as err:
            raise missing_extra("log", "mlflow", err) from err
        self._mlflow: Any = mlflow

    def write(self, record: Json) -> None:
        """Log the record's numbers."""
        values = {f"{record['event']}.{name}": value for name, value in numbers(record).items()}
        self._mlflow.log_metrics(values, step=record["step"])

    def close(self) -> None:
        """Leave the run to whoever started it."""


def numbers(record: Json) -> dict[str, float]:
    """Return the numbers of a record, nested ones under "outer.inner", `step` left out."""
    numeric = {
        name: value for name, value in flat(record).items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {name: float(value) for name, value in numeric.items() if name.rpartition(".")[2] != "step"}
