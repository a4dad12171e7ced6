"""The one training loop: every model that learns by gradient goes through it.

The model's `forward` returns named losses; a `Source` hands out batches; the loop owns the optimiser, clipping, validation,
early stopping, the log and the checkpoints. A run that was killed resumes to the same bits: parameters, optimiser, random
states and the source's position are all in the checkpoint (a test compares it with an uninterrupted run).
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metakg import files, heap
from metakg.errors import CheckpointError, NonFiniteLoss, TrainingError, is_out_of_memory
from metakg.train import checkpoint
from metakg.train.log import JsonLines, Sink
from metakg.types import Json

Validate = Callable[[nn.Module], float]
"""Judges a model on the validation scenario; higher is better. It must not touch the model."""


class LoopConfig(BaseModel):
    """Settings of the loop, the same for every model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    learning_rate: PositiveFloat = 1e-4
    """Step size of the optimiser."""
    optimizer: Literal["adam", "adagrad"] = "adam"
    """Adam, or Adagrad where a method asks for it."""
    epochs: PositiveInt = 10
    """Passes over the source, at most."""
    clip_norm: NonNegativeFloat = 5.0
    """Longest gradient allowed, over all parameters; longer ones are scaled down. 0 switches it off."""
    validate_every: PositiveInt | None = None
    """Steps between two validations; None counts epochs instead."""
    validate_epochs: PositiveInt = 1
    """Epochs between two validations, where `validate_every` is None."""
    patience: PositiveInt = 5
    """Validations without a better result before the run stops."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Minutes between two checkpoints."""
    log_every: PositiveInt = 50
    """Steps between two records in the log."""


class Source(Protocol):
    """Hands out the batches of a run and remembers where it stands."""

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""

    def next(self, model: Any, step: int) -> Any:
        """Return the batch of a step (counted from 0 over the whole run); may look at the model, and refresh its buffers."""

    def learn(self, model: Any, batch: Any) -> Json:
        """Take note after the optimiser's step; return what should be logged."""

    def describe(self, batch: Any) -> str:
        """Say in words which batch this is, for error messages."""

    def state_dict(self) -> Json:
        """Return where the source stands, as a nested dict of tensors, arrays and JSON values; never changed later."""

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the source stood."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a progress bar.

    Attributes:
        step: steps done.
        total: steps at most.
        epoch: current epoch, from 1.
        losses: last named losses.
        seconds_left: estimate to the end of all epochs; early stopping may come before.
        score: best validation result so far, or None.
    """

    step: int
    total: int
    epoch: int
    losses: dict[str, float]
    seconds_left: float
    score: float | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        steps: optimiser steps taken in all, earlier parts of a resumed run included.
        best_step: the step whose parameters the model has now.
        best_score: their validation result, or None without validation.
        stopped_early: whether patience ran out before the epochs did.
        seconds: time spent in all.
    """

    steps: int
    best_step: int
    best_score: float | None
    stopped_early: bool
    seconds: float


Watch = Callable[["Loop", Progress], None]
"""Sees a loop after each of its steps. It may set `loop.total = loop.step` to end it there, or raise."""

_WATCHES: ContextVar[tuple[Watch, ...]] = ContextVar("watches", default=())


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let `watch` see every loop that runs inside, however deep: phases of one training, adaptation, models of any kind.

    For measuring and for deadlines, which must not have to pass through the settings of every model.
    """
    token = _WATCHES.set((*_WATCHES.get(), watch))
    try:
        yield
    finally:
        _WATCHES.reset(token)


class _Signals:
    """Puts off what a signal asks for (Ctrl-C, a polite kill) while a state is half made.

    It stands before the handlers that are there for as long as a run lasts: changing handlers at every step would leave gaps in
    which a step is lost. Signals that no Python code handles are left alone: a checkpoint is written in one piece.
    """

    def __init__(self) -> None:
        self._before: dict[int, Callable[..., object]] = {}
        self._came: list[tuple[int, FrameType | None]] = []
        self._waits = False

    def __enter__(self) -> Self:
        self._before, self._came, self._waits = {}, [], False
        if threading.current_thread() is threading.main_thread():  # signals are handled there alone
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(handler := signal.getsignal(number)):
                    self._before[number] = handler
                    signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Let signals wait until the end of the block; after an error too, who asked to stop is not forgotten."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            while self._came:
                number, frame = self._came.pop(0)
                self._pass_on(number, frame)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._waits:
            self._came.append((number, frame))
        else:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before[number](number, frame)
        except BaseException:
            self.__exit__()  # it ends the run, and may have come on the way out, where nobody else would put the handlers back
            raise


class Loop:
    """One training run.

    Args:
        model: `forward(batch)` returns named scalar losses. If it has a `torch.Generator` named `rng`, its state is kept too.
        source: the batches.
        config: settings.
        folder: where the log and the checkpoint go; None keeps nothing.
        identity: what the run belongs to (data, settings); a checkpoint of something else is refused.
        validate: judges the model; the best parameters are restored at the end. None keeps the last ones.
        on_progress: called after every step.
        sinks: further places to log to.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        config: LoopConfig,
        *,
        folder: Path | None = None,
        identity: Json | None = None,
        validate: Validate | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self.model, self.source, self.config = model, source, config
        self.folder, self.identity = folder, {**(identity or {}), "loop": config.model_dump(mode="json")}
        self.validate, self.on_progress = validate, on_progress
        self.sinks: list[Sink] = list(sinks)
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "adam":
            self.optimizer = torch.optim.Adam(self.trained, lr=config.learning_rate, fused=True)
        else:  # torch has no fused Adagrad for a GPU
            on_cpu = all(p.device.type == "cpu" for p in self.trained)
            self.optimizer = torch.optim.Adagrad(self.trained, lr=config.learning_rate, fused=on_cpu or None)
        self.total = config.epochs * len(source)
        self.step, self.best_step, self.stale, self.seconds = 0, 0, 0, 0.0
        self.best_score: float | None = None
        self.best: dict[str, Tensor] = {}
        self.stopped = False
        self._judged, self._saved = 0, -1
        self._signals = _Signals()
        self._whole: Json | None = None
        """What `_position` said when parameters, optimiser and counts were last whole together; None where they are not."""

    @heap.kept()
    def run(self, *, resume: bool = False) -> Outcome:
        """Train to the end, and leave the best parameters in the model.

        Args:
            resume: go on from the checkpoint in `folder`, if there is one; else start from the beginning. A run that is not
                over may go on at another learning rate.

        Raises:
            NonFiniteLoss: a loss or gradient is NaN or infinite; the last checkpoint is kept, or made if there is none.
            CheckpointError: the checkpoint belongs to another run, or is damaged.
        """
        if resume and self.folder is not None:
            files.recover(self.folder / "checkpoint")
        if resume and self.folder is not None and (self.folder / "checkpoint").exists():
            self._restore(checkpoint.load(self.folder / "checkpoint", identity=_without_rate(self.identity)))
        if self.folder is not None:
            self.sinks.append(JsonLines(self.folder / "log.jsonl", after_step=self.step))
        began, earlier, first, last_saved = time.monotonic(), self.seconds, self.step, time.monotonic()
        self.model.train()
        with self._signals:
            self._whole = self._position()
            try:
                if self._judged < self.step:  # a run that failed while it was judged
                    self._judge()
                while self.step < self.total and not self.stopped:
                    batch = self.source.next(self.model, self.step)
                    losses = self._gradients(batch)
                    with self._signals.put_off():
                        self._whole = None  # half a step is no state to save
                        self.optimizer.step()
                        self.step += 1
                        notes = self.source.learn(self.model, batch)
                        self.seconds = earlier + time.monotonic() - began
                        self._whole = self._position()
                        self._note(losses, notes)
                    self._report(losses, (self.seconds - earlier) / (self.step - first))
                    self._judge()
                    self.seconds = earlier + time.monotonic() - began
                    if time.monotonic() - last_saved >= 60 * self.config.checkpoint_minutes:
                        self._save()
                        last_saved = time.monotonic()
                self._save()
                self._whole = None  # from here on the parameters are the best ones, not the last
                if self.best:
                    self.model.load_state_dict(self.best)
                self._log("end", {"best_step": self.best_step, "best_score": self.best_score, "stopped_early": self.stopped})
            except BaseException as err:
                # Numbers that explode do so after steps that were too long: an earlier state is worth more than the last.
                if not isinstance(err, NonFiniteLoss) or self._saved < 0:
                    self._save()
                raise
            finally:
                for sink in self.sinks:
                    sink.close()
        best_step = self.best_step if self.best else self.step
        return Outcome(self.step, best_step, self.best_score, self.stopped, self.seconds)

    def _gradients(self, batch: Any) -> dict[str, float]:
        """Run forward and backward; nothing but gradients changes."""
        # By hand what `zero_grad` and `get_total_norm` do: a small model's step is short enough to feel their bookkeeping.
        for p in self.trained:
            p.grad = None
        terms: dict[str, Tensor] = self.model(batch)
        stacked = torch.stack(list(terms.values()))
        losses = dict(zip(terms, stacked.tolist(), strict=True))
        if not all(map(math.isfinite, losses.values())):
            raise self._not_finite(batch, f"losses {losses}")
        stacked.sum().backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.trained if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        if not math.isfinite(norm):
            raise self._not_finite(batch, f"a gradient of length {norm} (losses {losses})")
        if self.config.clip_norm and norm > self.config.clip_norm:  # scaling a whole node table costs, so only if needed
            torch._foreach_mul_(gradients, self.config.clip_norm / norm)
        return losses | {"grad_norm": norm}

    def _not_finite(self, batch: Any, found: str) -> NonFiniteLoss:
        epoch, place = divmod(self.step, len(self.source))
        where = (
            f"step {self.step + 1} (epoch {epoch + 1}, batch {place + 1} of {len(self.source)}: {self.source.describe(batch)})"
        )
        fix = "Lower the learning rate and train again."
        if self.folder is not None:
            step = self.step if self._saved < 0 else self._saved
            fix = f"Lower the learning rate and resume: the state of step {step} is in {self.folder / 'checkpoint'}."
        return NonFiniteLoss(where, found, expected="finite numbers", fix=fix)

    def _judge(self) -> None:
        every = self.config.validate_every or self.config.validate_epochs * len(self.source)
        if self.validate is None or (self.step % every and self.step != self.total):
            self._judged = self.step
            return
        self.model.eval()
        try:
            score = self.validate(self.model)
        finally:
            self.model.train()
        if score != score:
            raise TrainingError("validation", "a score that is not a number", expected="a number", fix="Check its query set.")
        with self._signals.put_off():
            self._whole = None
            better = self.best_score is None or score > self.best_score
            self.stale = 0 if better else self.stale + 1
            if better:
                self.best_score, self.best_step = score, self.step
                self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.stopped = self.stale >= self.config.patience
            self._judged = self.step
            self._whole = self._position()
            self._log("validation", {"score": score, "best_score": self.best_score, "best_step": self.best_step})

    def _note(self, losses: dict[str, float], notes: Json) -> None:
        if self.step % self.config.log_every == 0 or self.step == 1:
            self._log("step", {"losses": losses, **notes, "seconds": round(self.seconds, 3)})

    def _report(self, losses: dict[str, float], per_step: float) -> None:
        watches = _WATCHES.get()
        if self.on_progress is None and not watches:
            return
        epoch = (self.step - 1) // len(self.source) + 1
        left = (self.total - self.step) * per_step
        progress = Progress(self.step, self.total, epoch, losses, left, self.best_score)
        if self.on_progress is not None:
            self.on_progress(progress)
        for watch in watches:
            watch(self, progress)

    def _log(self, event: str, record: Json) -> None:
        for sink in self.sinks:
            sink.write({"event": event, "step": self.step, **record})

    # -- state -----------------------------------------------------------------------------------------------------------

    def _position(self) -> Json:
        """Return what a step moves beside parameters and optimiser: small, taken after every step."""
        rng = getattr(self.model, "rng", None)
        return {"source": self.source.state_dict(), "rng": rng.get_state() if isinstance(rng, torch.Generator) else None}

    def _save(self) -> None:
        """Write a checkpoint, if there is a folder for it and the state is whole."""
        if self.folder is None or self._whole is None:
            return
        kept = self.optimizer.state
        moments = {
            name: {key: value for key, value in kept[p].items() if isinstance(value, Tensor)}
            for name, p in self.model.named_parameters()
            if p in kept
        }
        state = {
            "model": self.model.state_dict(),
            "optimizer": moments,
            "best": self.best,
            "position": self._whole,
            "loop": {
                "step": self.step,
                "best_step": self.best_step,
                "best_score": self.best_score,
                "stale": self.stale,
                "stopped": self.stopped,
                "seconds": self.seconds,
                "judged": self._judged,
                "learning_rate": self.config.learning_rate,
            },
        }
        checkpoint.save(self.folder / "checkpoint", state, identity=_without_rate(self.identity))
        self._saved = self.step

    def _restore(self, state: Json) -> None:
        """Go back to a checkpoint's state.

        Raises:
            CheckpointError: its run is over, at another rate; or it has other parts than this code, as one of an older version.
        """
        try:
            self._take(state)
        except (KeyError, RuntimeError, ValueError) as err:
            if is_out_of_memory(err):
                raise
            raise CheckpointError(
                str(self.folder),
                f"a state of another version ({' '.join(str(err).split())})",
                expected=f"the parts that {type(self.model).__name__} has",
                fix="Train it anew: in another folder, or without resuming.",
            ) from err

    def _take(self, state: Json) -> None:
        loop = state["loop"]
        rate, over = loop["learning_rate"], loop["stopped"] or loop["step"] >= self.total
        if over and rate != self.config.learning_rate:
            raise CheckpointError(
                str(self.folder),
                f"a run that is over, at a learning rate of {rate}",
                expected=f"one at {self.config.learning_rate}, or one to go on with",
                fix="Train in another folder, or without resuming.",
            )
        self.model.load_state_dict(state["model"])
        for name, p in self.model.named_parameters():
            if name in state["optimizer"]:
                moments = state["optimizer"][name]
                self.optimizer.state[p] = {key: value.to(p.device) for key, value in moments.items()}
        device = next(self.model.parameters()).device
        self.best = {name: value.to(device) for name, value in state["best"].items()}
        self.source.load_state_dict(state["position"]["source"])
        rng = getattr(self.model, "rng", None)
        if isinstance(rng, torch.Generator):
            rng.set_state(state["position"]["rng"])
        self.step, self.best_step, self.stale = loop["step"], loop["best_step"], loop["stale"]
        self._judged, self._saved = loop["judged"], loop["step"]
        self.best_score, self.stopped, self.seconds = loop["best_score"], loop["stopped"], loop["seconds"]


def _without_rate(identity: Json) -> Json:
    """Return what a run belongs to: the settings of its loop without the learning rate, which may change on the way."""
    found: Json = {}
    for key, value in identity.items():
        found[key] = _without_rate(value) if isinstance(value, dict) else value
        if key == "loop" and isinstance(value, dict):
            found[key] = {name: setting for name, setting in found[key].items() if name != "learning_rate"}
    return found
