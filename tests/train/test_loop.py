"""The training loop: two steps by hand, resume to the same bits, early stopping, and what happens when numbers explode."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metakg.errors import CheckpointError, NonFiniteLoss, TrainingError
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.train import loop as loop_module
from metakg.train.initialise import InitConfig, initialise
from metakg.train.log import numbers
from metakg.train.loop import Loop, LoopConfig, Progress
from metakg.train.meta import MetaConfig, TaskBatches
from metakg.train.scheduler import SchedulerConfig
from metakg.types import Json


class Line(nn.Module):
    """y = w x; the loss of a batch (x, y) is the squared gap."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))
        self.rng = torch.Generator().manual_seed(0)

    def forward(self, batch: tuple[float, float]) -> dict[str, Tensor]:
        x, y = batch
        return {"gap": (self.w * x - y).square()}


class Numbers:
    """Hands out given batches in turn."""

    def __init__(self, *batches: tuple[float, float]) -> None:
        self.batches, self.given = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def next(self, model: nn.Module, step: int) -> tuple[float, float]:
        self.given += 1
        return self.batches[step % len(self.batches)]

    def learn(self, model: nn.Module, batch: tuple[float, float]) -> Json:
        return {"given": self.given}

    def describe(self, batch: tuple[float, float]) -> str:
        return f"x={batch[0]}, y={batch[1]}"

    def state_dict(self) -> Json:
        return {"given": self.given}

    def load_state_dict(self, state: Json) -> None:
        self.given = state["given"]


def test_two_steps_equal_two_steps_of_adam_by_hand() -> None:
    model = Line()
    outcome = Loop(model, Numbers((1.0, 3.0), (2.0, 1.0)), LoopConfig(learning_rate=0.1, epochs=1, clip_norm=0)).run()
    w, m, v = 1.0, 0.0, 0.0
    for t, (x, y) in enumerate([(1.0, 3.0), (2.0, 1.0)], start=1):
        g = 2 * x * (w * x - y)  # a gradient left over from the step before would show here
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    assert float(model.w.detach()) == pytest.approx(w, abs=1e-6)
    assert (outcome.steps, outcome.best_step, outcome.best_score) == (2, 2, None)


def test_a_long_gradient_is_cut() -> None:
    model, seen = Line(), []
    config = LoopConfig(learning_rate=0.1, epochs=1, clip_norm=0.5)
    Loop(model, Numbers((1.0, 3.0)), config, on_progress=lambda p: seen.append(p)).run()
    assert seen[0].losses == {"gap": 4.0, "grad_norm": 4.0}
    assert float(model.w.grad) == pytest.approx(-0.5, rel=1e-4)


def test_the_best_parameters_come_back_and_patience_ends_the_run(tmp_path: Path) -> None:
    model, scores, weights = Line(), iter([0.1, 0.5, 0.4, 0.3, 0.9]), []

    def validate(judged: nn.Module) -> float:
        assert not judged.training
        weights.append(float(model.w.detach()))
        return next(scores)

    config = LoopConfig(learning_rate=0.1, epochs=9, patience=2)
    outcome = Loop(model, Numbers((1.0, 3.0)), config, folder=tmp_path, validate=validate).run()
    assert (outcome.steps, outcome.best_step, outcome.best_score, outcome.stopped_early) == (4, 2, 0.5, True)
    assert float(model.w.detach()) == weights[1]
    assert model.training
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "validation"] == [1, 2, 3, 4]
    assert events[-1]["event"] == "end"


def test_a_score_that_is_not_a_number_stops_the_run() -> None:
    with pytest.raises(TrainingError, match="validation: found a score that is not a number"):
        Loop(Line(), Numbers((1.0, 3.0)), LoopConfig(epochs=1), validate=lambda _: float("nan")).run()


@pytest.mark.parametrize("bad", [(float("nan"), 1.0), (1e30, 1.0)])
def test_exploding_numbers_name_the_batch_and_keep_the_state(tmp_path: Path, bad: tuple[float, float]) -> None:
    source = Numbers((1.0, 3.0), (1.0, 2.0), bad)
    loop = Loop(Line(), source, LoopConfig(learning_rate=0.1, epochs=1), folder=tmp_path)
    with pytest.raises(NonFiniteLoss, match=r"step 3 \(epoch 1, batch 3 of 3: x=.*the state of step 2 is in"):
        loop.run()
    kept = Line()
    resumed = Loop(kept, Numbers((1.0, 3.0), (1.0, 2.0), (1.0, 1.0)), LoopConfig(learning_rate=0.1, epochs=1), folder=tmp_path)
    assert resumed.run(resume=True).steps == 3
    whole = Line()
    Loop(whole, Numbers((1.0, 3.0), (1.0, 2.0), (1.0, 1.0)), LoopConfig(learning_rate=0.1, epochs=1)).run()
    assert torch.equal(kept.w, whole.w)


class Uphill(Line):
    """Grows by the learning rate at each step, and explodes above 6."""

    def forward(self, batch: tuple[float, float]) -> dict[str, Tensor]:
        return {"gap": -self.w if self.w < 6 else self.w * torch.nan}


def test_numbers_that_explode_leave_the_checkpoint_before_and_a_lower_rate_goes_on_from_it(tmp_path: Path) -> None:
    batches = [(1.0, 3.0), (1.0, 2.0), (1.0, 1.0)]

    def run(rate: float, on_progress: Callable[[Progress], None] | None = None) -> Uphill:
        model = Uphill()
        config = LoopConfig(learning_rate=rate, epochs=2)
        Loop(model, Numbers(*batches), config, folder=tmp_path, on_progress=on_progress).run(resume=True)
        return model

    def stop(p: Progress) -> None:
        if p.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(2.0, stop)
    with pytest.raises(NonFiniteLoss, match=r"step 4 .*Lower the learning rate and resume: the state of step 2 is in"):
        run(2.0)
    assert float(run(0.1).w.detach()) == pytest.approx(5 + 4 * 0.1, abs=0.01)


def test_a_run_goes_on_at_another_rate_unless_it_is_over(tmp_path: Path) -> None:
    batches = [(1.0, 3.0), (1.0, 2.0)]

    def stop(p: Progress) -> None:
        if p.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Loop(Line(), Numbers(*batches), LoopConfig(learning_rate=0.1, epochs=4), folder=tmp_path, on_progress=stop).run()
    assert (
        Loop(Line(), Numbers(*batches), LoopConfig(learning_rate=0.01, epochs=4), folder=tmp_path).run(resume=True).steps == 8
    )
    with pytest.raises(CheckpointError, match=r"a run that is over, at a learning rate of 0\.01; expected one at 0\.1"):
        Loop(Line(), Numbers(*batches), LoopConfig(learning_rate=0.1, epochs=4), folder=tmp_path).run(resume=True)


def test_a_run_that_fails_while_it_is_judged_is_judged_again(tmp_path: Path) -> None:
    batches, config = [(1.0, 3.0), (1.0, 2.0)], LoopConfig(learning_rate=0.1, epochs=3)
    seen: list[int] = []

    def validate(model: nn.Module) -> float:
        seen.append(len(seen))
        if len(seen) == 2:
            raise MemoryError
        return -abs(float(model.w.detach()) - 2)

    killed = Line()
    with pytest.raises(MemoryError):
        Loop(killed, Numbers(*batches), config, folder=tmp_path, validate=validate).run()
    assert killed.training
    resumed, whole = Line(), Line()
    outcome = Loop(resumed, Numbers(*batches), config, folder=tmp_path, validate=validate).run(resume=True)
    seen.extend([0] * 9)
    expected = Loop(whole, Numbers(*batches), config, validate=validate).run()
    assert (outcome.steps, outcome.best_step, outcome.best_score) == (expected.steps, expected.best_step, expected.best_score)
    assert torch.equal(resumed.w, whole.w)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"validation"' in line]
    assert steps == [2, 4, 6]


def test_a_checkpoint_of_other_parts_is_refused_with_what_to_do(tmp_path: Path) -> None:
    class Bent(Line):
        """A later version of it."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.tensor(0.0))

    config = LoopConfig(epochs=2)
    Loop(Line(), Numbers((1.0, 3.0)), config, folder=tmp_path).run()
    with pytest.raises(CheckpointError, match=r"a state of another version .*bias.*; expected the parts that Bent has"):
        Loop(Bent(), Numbers((1.0, 3.0)), config, folder=tmp_path).run(resume=True)


def test_a_signal_in_the_middle_of_a_step_waits_for_its_end_and_the_state_is_whole(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    batches = [(1.0, 3.0), (2.0, 1.0), (1.0, 2.0)]
    expected = Loop(Line(), Numbers(*batches), LoopConfig(epochs=2), folder=tmp_path / "whole")
    expected.run()
    loop = Loop(Line(), Numbers(*batches), LoopConfig(epochs=2), folder=tmp_path / "cut")
    take = loop.optimizer.step

    def disturbed() -> None:
        if loop.step == 3:
            signal.raise_signal(signal.SIGTERM)
        take()

    loop.optimizer.step = disturbed  # type: ignore[assignment]
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run()
        assert signal.getsignal(signal.SIGTERM) is stop, "the handler is back"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert loop.step == 4, "the step was taken to its end"
    again = Loop(Line(), Numbers(*batches), LoopConfig(epochs=2), folder=tmp_path / "cut")
    assert again.run(resume=True).steps == 6
    assert torch.equal(again.model.w, expected.model.w)


class Chance(Numbers):
    """Numbers, each a little off by chance: a state that every step moves."""

    def __init__(self, *batches: tuple[float, float]) -> None:
        super().__init__(*batches)
        self.rng = torch.Generator().manual_seed(3)

    def next(self, model: nn.Module, step: int) -> tuple[float, float]:
        x, y = super().next(model, step)
        return x + float(torch.rand((), generator=self.rng)), y

    def state_dict(self) -> Json:
        return super().state_dict() | {"rng": self.rng.get_state()}

    def load_state_dict(self, state: Json) -> None:
        super().load_state_dict(state)
        self.rng.set_state(state["rng"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one on the way out leaves the log open
def test_a_signal_at_any_line_of_the_loop_loses_no_step_and_takes_none_twice(tmp_path: Path) -> None:
    def run(folder: Path, *, resume: bool = False) -> tuple[Line, Loop]:
        model = Line()
        config = LoopConfig(learning_rate=0.1, epochs=3, log_every=1, checkpoint_minutes=60)
        loop = Loop(
            model,
            Chance((1.0, 3.0), (2.0, 1.0)),
            config,
            folder=folder,
            validate=lambda m: -abs(float(m.w.detach()) - 2),  # type: ignore[arg-type]
            on_progress=lambda _: None,
        )
        loop.run(resume=resume)
        return model, loop

    def lines(folder: Path) -> list[dict[str, object]]:
        found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return [{key: value for key, value in record.items() if key != "seconds"} for record in found]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    expected, _ = run(tmp_path / "whole")
    before = signal.signal(signal.SIGTERM, stop)
    cut = 0
    try:
        for at in range(1, 2000):
            left, begun = at, False

            def trace(frame: FrameType, event: str, _: object) -> Any:
                nonlocal left, begun
                if frame.f_code.co_filename != loop_module.__file__:
                    return None
                begun = begun or frame.f_code.co_name == "_gradients"  # a first step: there is something to keep
                if event == "line" and begun and left:
                    left -= 1
                    if not left:
                        signal.raise_signal(signal.SIGTERM)
                return trace

            folder = tmp_path / str(at)
            sys.settrace(trace)
            try:
                run(folder)
            except KeyboardInterrupt:
                cut += 1
            finally:
                sys.settrace(None)
            assert signal.getsignal(signal.SIGTERM) is stop, "the handler is back"
            if left:
                break
            resumed, loop = run(folder, resume=True)
            assert loop.step == 6
            assert torch.equal(resumed.w, expected.w), f"line {at}"
            assert [r for r in lines(folder) if r["event"] != "end"] == [
                r for r in lines(tmp_path / "whole") if r["event"] != "end"
            ]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cut > 200


def meta_run(world, folder: Path | None, stop_after: int | None, *, seed: int = 1, **settings: object):
    """Meta-train a small model; `stop_after` raises there, as a killed process would."""
    config = MetaKGConfig(dim=8, dims=(8, 8), attention_every=4, fan_out=3, **settings)
    model = MetaKG(config, world.view, torch.Generator().manual_seed(2))
    meta = MetaConfig(tasks=4, facts=64, scheduler=SchedulerConfig(pool=8), at_once=5)

    def validate(judged: nn.Module) -> float:
        return float(judged.score_all(torch.arange(30)).std())

    def progress(p: Progress) -> None:
        if p.step == stop_after:
            raise KeyboardInterrupt

    loop = Loop(
        model,
        TaskBatches(model, world.view, meta, seed),
        LoopConfig(learning_rate=0.01, epochs=4, validate_every=2, checkpoint_minutes=1e-9, log_every=1, patience=99),
        folder=folder,
        identity={"seed": seed},
        validate=validate,
        on_progress=progress,
    )
    return model, loop


@pytest.mark.parametrize("stop_after", [1, 5, 8])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(world, tmp_path: Path, stop_after: int) -> None:
    whole, loop = meta_run(world, tmp_path / "whole", None)
    expected = loop.run()
    _, killed = meta_run(world, tmp_path / "killed", stop_after)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    model, resumed = meta_run(world, tmp_path / "killed", None)
    outcome = resumed.run(resume=True)
    assert (outcome.steps, outcome.best_step, outcome.best_score) == (
        expected.steps,
        expected.best_step,
        expected.best_score,
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    first, second = (
        [json.loads(line) for line in (tmp_path / f / "log.jsonl").read_text().splitlines()] for f in ("whole", "killed")
    )
    for record in (*first, *second):
        record.pop("seconds", None)
    assert first == second


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(world) -> None:
    models = []
    for seed in (1, 1, 2):
        model, loop = meta_run(world, None, None, seed=seed)
        loop.run()
        models.append(model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["node"], models[2]["node"])


def test_a_checkpoint_of_another_run_is_refused(world, tmp_path: Path) -> None:
    _, loop = meta_run(world, tmp_path, 2)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    _, other = meta_run(world, tmp_path, None, seed=5)
    with pytest.raises(CheckpointError, match=r"seed: found 1; expected 5\. It belongs to another run"):
        other.run(resume=True)


def test_transr_start_pulls_facts_together_and_resumes(world, tmp_path: Path) -> None:
    def fresh() -> MetaKG:
        return MetaKG(MetaKGConfig(dim=8, dims=(8,)), world.view, torch.Generator().manual_seed(2))

    config = InitConfig(epochs=30, batch_size=128, learning_rate=0.01)
    model, again, untouched = fresh(), fresh(), fresh()
    losses: list[float] = []
    initialise(model, config, seed=1, folder=tmp_path, on_progress=lambda p: losses.append(p.losses["kg"]))
    assert losses[-1] < 0.5 < 0.65 < losses[0]
    initialise(again, config, seed=1, folder=tmp_path, resume=True)  # the run is over: it only reads the result
    assert torch.equal(model.node, again.node)
    assert torch.equal(model.attention_weights, again.attention_weights)
    assert not torch.equal(model.attention_weights, untouched.attention_weights)
    initialise(untouched, InitConfig(epochs=0), seed=1)
    assert torch.equal(untouched.node, fresh().node)


def test_numbers_of_a_record_are_flattened() -> None:
    assert numbers({"event": "step", "step": 3, "losses": {"kg": 1, "x": {"y": 2.5}}, "on": True}) == {
        "losses.kg": 1.0,
        "losses.x.y": 2.5,
    }
