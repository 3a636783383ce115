"""One trial: training steps of one batch size, their memory by phase, and their speed."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import inspect
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from lrscout.engine.batches import to_device
from lrscout.engine.devices import resolve_device
from lrscout.engine.environment import describe_environment
from lrscout.engine.out_of_memory import is_out_of_memory
from lrscout.engine.randomness import preserved_random_state
from lrscout.engine.session import Session
from lrscout.engine.trials.estimate import estimate_step
from lrscout.engine.trials.feed import Feed, TooFewSamples
from lrscout.engine.trials.memory import Memory, memory_of
from lrscout.engine.trials.phases import told_apart
from lrscout.engine.trials.requests import Attempt, DataFacts, ShapeEstimate, TargetFacts, TrySize
from lrscout.engine.trials.source import Source, dataset_size, evaluated_loader, longest_sample, resized
from lrscout.engine.trials.timing import time_steps
from lrscout.engine.workload import Workload
from lrscout.errors import WorkloadError
from lrscout.results import Outcome, OwnSize, Trial
from lrscout.settings import FindBatchSizeSettings

STEPS_MORE = 4  # than asked for, before memory that grows counts as a leak
GROWTH_FLOOR = 256 * 1024  # bytes that every step may add before it counts as a leak: allocators breathe


class Bench:
    """Where trials run: in this process, with workloads from the source."""

    def __init__(self, source: Source, settings: FindBatchSizeSettings, own_process: bool) -> None:
        self._source, self._settings = source, settings
        self._own_process = own_process  # nobody needs the workload afterwards
        self._warm = not own_process

    def inspect(self) -> TargetFacts:
        """Build the workload as the target gives it and look at it; no step is taken.

        Raises:
            WorkloadError: its data set is empty.
        """
        with preserved_random_state():
            workload = self._source.own(self._settings.min)
            if not self._source.takes_size:
                resized(workload.train_loader, self._settings.min)  # fails now if it cannot be resized
            session = Session(workload, self._settings)
            training = self._data_of(workload.train_loader, looks=True)
            if training.samples == 0:
                raise WorkloadError("The data set is empty.", hint="There is nothing to make a batch of.")
            return TargetFacts(
                environment=describe_environment(session),
                on_cpu=session.device.type == "cpu",
                training=training,
                evaluation=self._data_of(evaluated_loader(workload), looks=self._settings.eval),
                own=_own_size(workload, session),
                available_bytes=memory_of(session.device).available(),
                source_digest=_source_digest(self._source.found, workload),
            )

    def _data_of(self, loader: Any, looks: bool) -> DataFacts:
        looks = looks and self._settings.worst_case == "auto"
        return DataFacts(dataset_size(loader), longest_sample(loader) if looks else None)

    def estimate(self, longest: int | None) -> ShapeEstimate:
        """What a step would take; nothing is run."""
        with preserved_random_state():
            return estimate_step(self._source, self._settings, longest)

    def run(self, request: TrySize) -> Attempt:
        """Run a trial; whatever goes wrong in it is its outcome."""
        started = perf_counter()
        failure: BaseException | None = None
        outcome: Outcome
        try:
            trial = self._measure(request)
            return Attempt(dataclasses.replace(trial, seconds=perf_counter() - started))
        except TooFewSamples as error:
            outcome, reason = "too_few_samples", str(error)
        except (Exception, SystemExit) as error:
            outcome, reason = "failed", f"{type(error).__name__}: {error}"
            if is_out_of_memory(error, limited=request.limit_bytes is not None):
                outcome = "out_of_memory"
            else:
                failure = error
        # only now, after the except block: the traceback keeps the step's tensors alive
        _clean_up()
        seconds = perf_counter() - started
        return Attempt(Trial(request.batch_size, outcome, None, None, seconds, 0, reason=_first_line(reason)), failure)

    def _measure(self, request: TrySize) -> Trial:
        with preserved_random_state(), contextlib.ExitStack() as stack:
            early = None if self._own_process else self._source.sized(request.batch_size)
            device = resolve_device(self._settings.device, early) if early else self._device_of_trial()
            memory = memory_of(device)
            if not self._warm:
                _warm_up(device)
                self._warm = True
            stack.callback(memory.end)
            if early is None:
                memory.begin(request.limit_bytes)
            workload = early or self._source.sized(request.batch_size)
            actual = resolve_device(self._settings.device, workload)
            if actual.type != device.type or actual.index not in (None, device.index):  # the target chose another GPU
                memory.end()
                memory = memory_of(actual)
                stack.callback(memory.end)
                memory.begin(request.limit_bytes)
            loader = evaluated_loader(workload) if request.evaluates else workload.train_loader
            feed = Feed(loader, request.batch_size, request.longest)
            session = Session(dataclasses.replace(workload, train_loader=feed), self._settings)
            stack.enter_context(session.open(preserve=not self._own_process))
            if early is not None:  # the user's weights were there before, and so is now their copy
                memory.begin(request.limit_bytes, counted=_bytes_of(workload.model))
            return _take_steps(session, feed, memory, request, self._settings.trial_steps)

    def _device_of_trial(self) -> torch.device:
        """The device to warm up, before there is a workload: where `auto` would go without knowing the model."""
        name = self._settings.device
        if name != "auto":
            return torch.device(name)
        return resolve_device(name, Workload(nn.Module(), ()))


def _take_steps(session: Session, feed: Feed, memory: Memory, request: TrySize, trial_steps: int) -> Trial:
    if request.evaluates:
        _fill_optimizers(session)
    step = _eval_step(session, feed) if request.evaluates else session.train_step

    def taken() -> None:
        step()
        _synchronize(session.device)

    levels: list[int | None] = []
    with told_apart(session, memory) as phases:
        while len(levels) < trial_steps or (len(levels) < trial_steps + STEPS_MORE and _growth(levels) is not None):
            taken()
            phases.step_ended()
            levels.append(memory.held())
            if len(levels) == 1:
                memory.tighten()
            unfit = _over(phases.peak, request.limit_bytes) or memory.discomfort()
            if unfit is not None:
                return phases.trial(request.batch_size, "out_of_memory", len(levels), reason=unfit)
    memory.loosen()
    feed.leave_worst()
    next(feed)  # starts the loader's workers, where it has not begun yet
    feed.seconds_waited = 0.0
    seconds = time_steps(taken)
    samples = request.batch_size * (1 if request.evaluates else session.settings.accumulate)
    return phases.trial(
        request.batch_size,
        "fits",
        len(levels) + len(seconds),
        samples_per_second=samples / median(seconds),
        loader_share=min(1.0, feed.seconds_waited / sum(seconds)),
        growth_bytes=_growth(levels),
    )


def _over(peak: int | None, limit: int | None) -> str | None:
    if peak is None or limit is None or peak <= limit:
        return None
    return f"The step takes {peak} bytes, over the limit of {limit}."


def _eval_step(session: Session, feed: Feed) -> Any:
    return lambda: session.evaluate([to_device(next(feed), session.device)])


def _fill_optimizers(session: Session) -> None:
    """Gradients and optimizer state, which are there too when a training evaluates."""
    for optimizer in session.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()


def _growth(levels: list[int | None]) -> int | None:
    """What every step adds to the memory held; None for little. The first step still fills caches."""
    added = [b - a for a, b in pairwise(levels[1:]) if a is not None and b is not None]
    grown = median(added) if added else 0
    return int(grown) if grown > GROWTH_FLOOR else None


def _warm_up(device: torch.device) -> None:
    """A small step, so that threads, libraries and handles are there before memory is counted."""
    with preserved_random_state():
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 8)).to(device)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(2):
            loss = model(torch.zeros(16, 1, 8, 8, device=device)).square().mean()
            loss.backward()
            optimizer.step()
        _synchronize(device)


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _clean_up() -> None:
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with contextlib.suppress(RuntimeError):  # a context that is lost
            torch.cuda.empty_cache()


def _bytes_of(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


def _own_size(workload: Workload, session: Session) -> OwnSize | None:
    size = getattr(workload.train_loader, "batch_size", None)
    return OwnSize(size, session.own_lr if workload.optimizer is not None else None) if isinstance(size, int) else None


def _source_digest(target: Any, workload: Workload) -> str:
    """Of the files that define the target, its model and its data set: what a cached answer stands for."""
    digest = hashlib.sha256()
    target = target if inspect.isroutine(target) or inspect.isclass(target) else type(target)
    for part in (target, type(workload.model), type(getattr(workload.train_loader, "dataset", None))):
        with contextlib.suppress(OSError, TypeError):
            source = inspect.getsourcefile(inspect.unwrap(part))
            if source is not None:
                with open(source, "rb") as file:
                    digest.update(file.read())
    return digest.hexdigest()


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "out of memory"
