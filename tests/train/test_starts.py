"""BPR vectors that trainings share: the same bits, fitted once, counted in each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from metakg.comparison import compare
from metakg.data import Interactions
from metakg.errors import DataError
from metakg.testing import planted_split
from metakg.train import starts
from metakg.train.initialise import BprConfig, Factors, fit_bpr
from metakg.train.loop import watching
from metakg.train.spent import count, spending
from metakg.train.starts import Start, Starts, key_of, shared, sharing_starts

PAIRS = Interactions(np.array([0, 0, 1, 2], np.int32), np.array([0, 1, 2, 3], np.int32))


def begun() -> torch.Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(3))


def fitted(seed: int = 1, **settings: object) -> torch.Tensor:
    return fit_bpr(PAIRS, 4, 4, BprConfig.model_validate({"epochs": 2, **settings}), begun(), seed)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often BPR was fitted."""
    found: list[str] = []
    inner = Factors.__init__

    def noted(self: Factors, *arguments: object) -> None:
        found.append("")
        inner(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Factors, "__init__", noted)
    return found


def test_what_is_shared_is_what_is_fitted(tmp_path: Path, fits: list[str]) -> None:
    alone = fitted()
    with sharing_starts(Starts(tmp_path)):
        assert torch.equal(fitted(), alone)
        again = fitted()
        assert torch.equal(again, alone)
        again.add_(1)  # whoever begins with them moves them
        assert torch.equal(fitted(), alone)
    assert len(fits) == 2
    with sharing_starts(Starts(tmp_path)):  # another process
        assert torch.equal(fitted(), alone)
    assert len(fits) == 2
    fitted()
    assert len(fits) == 3, "outside nothing is shared"


@pytest.mark.parametrize(
    "other",
    [
        lambda: fitted(seed=2),
        lambda: fitted(learning_rate=0.1),
        lambda: fit_bpr(PAIRS, 4, 4, BprConfig(epochs=2), torch.zeros(8, 4), 1),
        lambda: fit_bpr(PAIRS.select(np.arange(3)), 4, 4, BprConfig(epochs=2), begun(), 1),
        lambda: fit_bpr(PAIRS, 3, 5, BprConfig(epochs=2), begun(), 1),
    ],
)
def test_nothing_else_is_taken_for_it(other: Callable[[], torch.Tensor], fits: list[str]) -> None:
    alone = other()
    with sharing_starts(Starts()):
        fitted()
        assert torch.equal(other(), alone)
    assert len(fits) == 3


def test_a_start_counts_once_in_each_account(tmp_path: Path) -> None:
    with spending(tmp_path) as first:
        count("start", 100.0, 50.0)
    with spending(tmp_path) as second:  # gone on with: it begins with the same start
        count("start", 100.0, 50.0)
    with spending(None) as other:
        pass
    count("start", 100.0, 50.0)  # nobody is in charge
    assert 100 <= first.wall_s <= second.wall_s < 101
    assert 50 <= first.cpu_s <= second.cpu_s < 51
    assert other.wall_s < 1


def test_models_of_a_comparison_share_their_start(tmp_path: Path, fits: list[str]) -> None:
    bpr = {"start": "bpr", "bpr": {"epochs": 3}, "loop": {"epochs": 1}, "adapt": {"epochs": 1}}
    settings = {name: {"dim": 4, "training": bpr} for name in ("fm", "nfm", "cke")}
    cut = planted_split()
    alone = [compare(cut, [name], settings={name: settings[name]}).runs[0] for name in ("fm", "nfm")]
    assert len(fits) == 2
    board = compare(cut, ["fm", "nfm"], settings={name: settings[name] for name in ("fm", "nfm")}, keep=tmp_path)
    assert len(fits) == 3
    assert [run.evaluation.rows for run in board.runs] == [run.evaluation.rows for run in alone]
    (start,) = (tmp_path / "starts").iterdir()
    path = start / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "wall_s": 1000.0, "cpu_s": 500.0}))
    later = compare(cut, ["cke"], settings={"cke": settings["cke"]}, keep=tmp_path)
    assert len(fits) == 3
    assert later.runs[0].fit_s > 1000, "as if it had fitted them itself"
    assert later.runs[0].seconds > later.runs[0].fit_s


@pytest.mark.parametrize("stopped_in", ["Factors", "FM"])
def test_a_start_that_was_interrupted_is_gone_on_with_shared_and_counted_once(
    tmp_path: Path, fits: list[str], stopped_in: str
) -> None:
    bpr = {"epochs": 3, "batch_size": 64}
    training = {"start": "bpr", "bpr": bpr, "loop": {"epochs": 1, "checkpoint_minutes": 1e-9}, "adapt": {"epochs": 1}}
    cut, settings = planted_split(), {name: {"dim": 4, "training": training} for name in ("fm", "nfm")}
    steps: list[int] = []

    def stop(loop: object, progress: object) -> None:
        if type(loop.model).__name__ == stopped_in and loop.step >= (3 if stopped_in == "Factors" else 1):  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    def note(loop: object, progress: object) -> None:
        if type(loop.model).__name__ == "Factors":  # type: ignore[attr-defined]
            steps.append(loop.step)  # type: ignore[attr-defined]

    with watching(stop), pytest.raises(KeyboardInterrupt):
        compare(cut, ["fm"], settings={"fm": settings["fm"]}, keep=tmp_path)
    starts_folder = tmp_path / "starts"
    (begun,) = starts_folder.iterdir()
    account = begun / ("spent.json" if stopped_in == "Factors" else "manifest.json")
    account.write_text(json.dumps({**json.loads(account.read_text()), "wall_s": 1000.0, "cpu_s": 500.0}))
    told = json.loads((tmp_path / "fm-1.training" / "spent.json").read_text())
    assert told["wall_s"] < 100, "the time of the start is not the model's own"
    with watching(note):
        board = compare(cut, ["fm", "nfm"], settings=settings, keep=tmp_path)
    assert (steps[0] if stopped_in == "Factors" else len(steps)) == (4 if stopped_in == "Factors" else 0), "gone on with"
    assert [entry.name for entry in starts_folder.iterdir()] == [begun.name.removesuffix(".fitting")]
    for run in board.runs:
        assert 1000 < run.fit_s < 1100
    alone = compare(cut, ["fm", "nfm"], settings=settings)
    assert [run.evaluation.rows for run in board.runs] == [run.evaluation.rows for run in alone.runs]


@pytest.mark.parametrize("damage", ["rows.safetensors", "manifest.json"])
def test_a_damaged_start_is_named(tmp_path: Path, damage: str) -> None:
    Starts(tmp_path).keep("a", Start(torch.ones(2, 3), 1.0, 1.0))
    Starts(tmp_path).keep("a", Start(torch.zeros(2, 3), 1.0, 1.0))
    kept = Starts(tmp_path).find("a")
    assert kept is not None
    assert torch.equal(kept.rows, torch.ones(2, 3)), "the first one stays"
    assert Starts(tmp_path).find("b") is None
    path = tmp_path / "a" / damage
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=damage.split(".")[0]):
        Starts(tmp_path).find("a")


def test_of_two_processes_that_keep_one_start_the_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no locks, the other one may have been faster, at the last moment."""
    ours = Starts(tmp_path)
    inner = starts.files.save_tensors

    def late(tensors: dict[str, torch.Tensor], path: Path) -> None:
        monkeypatch.setattr(starts.files, "save_tensors", inner)
        Starts(tmp_path).keep("a", Start(torch.ones(2, 3), 1.0, 1.0))
        inner(tensors, path)

    monkeypatch.setattr(starts.files, "save_tensors", late)
    ours.keep("a", Start(torch.ones(2, 3), 2.0, 2.0))
    kept = Starts(tmp_path).find("a")
    assert kept is not None
    assert kept.wall_s == 1.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif("sys.platform == 'win32'", reason="no locks there")
def test_a_start_that_another_process_fits_is_waited_for_and_taken_over(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
import torch
from metakg.train.starts import Start, Starts

def fit(folder):
    print("fitting", flush=True)
    sys.stdin.readline()
    return torch.full((2, 3), 7.0)

Starts(Path(sys.argv[1])).fit("a", fit)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "fitting\n"
        found: list[Start] = []
        ours = Thread(target=lambda: found.append(Starts(tmp_path).fit("a", lambda _: pytest.fail("fitted twice"))))
        ours.start()
        ours.join(1.0)
        assert ours.is_alive(), "it waits"
        other.stdin.write("\n")
        other.stdin.close()
        ours.join(30)
    assert torch.equal(found[0].rows, torch.full((2, 3), 7.0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif("sys.platform == 'win32'", reason="no locks there")
def test_a_run_that_another_process_is_at_is_refused_and_nothing_of_it_is_touched(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from metakg import files
with files.alone(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "log.jsonl").write_text("theirs")
    print("there", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "blend-1.training")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "there\n"
        with pytest.raises(DataError, match=r"blend-1\.training: found another process .* Wait for it"):
            compare(planted_split(), ["blend"], keep=tmp_path)
        assert (tmp_path / "blend-1.training" / "log.jsonl").read_text() == "theirs"
        other.kill()
    compare(planted_split(), ["blend"], keep=tmp_path)
    assert (tmp_path / "blend-1" / "manifest.json").exists()


def test_a_key_is_a_name_for_a_folder() -> None:
    key = key_of(PAIRS, 4, 4, BprConfig(), torch.zeros(8, 4), 1)
    assert len(key) == 32
    assert int(key, 16) >= 0
    assert shared(key, lambda _: torch.ones(1)).item() == 1
