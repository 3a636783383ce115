"""Running trials: training steps at one batch size, with their memory by phase and their speed."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import nn

from lrscout.attached.memory import memory_of
from lrscout.attached.parts import bytes_of
from lrscout.engine.devices import resolve_device
from lrscout.engine.environment import describe_environment
from lrscout.engine.out_of_memory import is_out_of_memory
from lrscout.engine.randomness import preserved_random_state
from lrscout.engine.session import Session
from lrscout.engine.trials.estimate import estimate_step
from lrscout.engine.trials.feed import Feed, TooFewSamples
from lrscout.engine.trials.gradients import GradientSession
from lrscout.engine.trials.loading import restartable, time_step
from lrscout.engine.trials.requests import Attempt, DataFacts, ShapeEstimate, TargetFacts, TimedSteps, TimeStep, TrySize
from lrscout.engine.trials.source import Source, dataset_size, evaluation_loader, longest_sample, with_size
from lrscout.engine.trials.steps import take_steps, warm_up
from lrscout.engine.trials.stopwatch import Stopwatch
from lrscout.engine.workload import Workload
from lrscout.errors import WorkloadError, summary
from lrscout.results import LoaderTiming, Outcome, OwnSize, Trial
from lrscout.settings import FindBatchSizeSettings


class Bench:
    """Runs trials in this process; with `own_process`, the process does nothing else, so no state is restored."""

    def __init__(self, source: Source, settings: FindBatchSizeSettings, own_process: bool) -> None:
        self._source, self._settings = source, settings
        self._own_process = own_process
        self._warm = not own_process
        self._stopwatches: dict[bool, Stopwatch] = {}  # of training, and of evaluation
        self._built: tuple[int, Workload] | None = None  # a workload that was timed, and its size

    def inspect(self) -> TargetFacts:
        """Build the workload with its default batch size and inspect it, without taking a step.

        Raises:
            WorkloadError: the dataset is empty.
            UsageError: the target has no argument for the batch size, and its loader cannot be rebuilt.
        """
        with preserved_random_state():
            workload = self._source.default(self._settings.min)
            if not self._source.takes_size:
                with_size(workload, self._settings.min)  # raises now if the loader cannot be rebuilt
            session = Session(workload, self._settings)
            training = self._data_facts(workload.train_loader, find_longest=True)
            if training.samples == 0:
                raise WorkloadError("The dataset is empty.", hint="Check how the target loads its data.")
            return TargetFacts(
                environment={**describe_environment(session), "batch_argument": self._source.argument},
                on_cpu=session.device.type == "cpu",
                training=training,
                evaluation=self._data_facts(evaluation_loader(workload), find_longest=self._settings.eval),
                own=_own_size(workload, session),
                available_bytes=memory_of(session.device).available(),
                source_digest=_source_digest(self._source.found, workload),
            )

    def _data_facts(self, loader: Any, find_longest: bool) -> DataFacts:
        find_longest = find_longest and self._settings.worst_case == "auto"
        return DataFacts(dataset_size(loader), longest_sample(loader) if find_longest else None)

    def estimate(self, longest: int | None) -> ShapeEstimate:
        """Estimate the memory of a step without running one.

        Raises:
            WorkloadError: it cannot be estimated.
        """
        with preserved_random_state():
            held = self._held_by_target() if self._own_process else 0
            shapes = estimate_step(self._source, self._settings, longest)
            return dataclasses.replace(shapes, base_bytes=shapes.base_bytes + held, target_bytes=held)

    def _held_by_target(self) -> int:
        """What the target's modules and data take on the CPU, where they count toward the limit of a trial."""
        device = self._device_of_trial()
        if device.type != "cpu":
            return 0
        memory = memory_of(device)
        warm_up(device)
        memory.begin(None)
        workload = self._source.default(self._settings.min)
        held = (memory.held() or 0) - bytes_of([*workload.model.parameters(), *workload.model.buffers()])
        memory.end()
        return max(0, held)

    def time(self, batch_size: int, evaluates: bool) -> TimedSteps:
        """Time some steps; what is built for that stays for the next time.

        Raises:
            WorkloadError: there are no batches of this size.
        """
        if evaluates not in self._stopwatches:
            self._stopwatches[evaluates] = Stopwatch(self._source, self._settings, evaluates, self._own_process)
        try:
            return self._stopwatches[evaluates].time(batch_size)
        except TooFewSamples as error:
            raise WorkloadError(str(error)) from None

    @contextmanager
    def gradient_session(self, batch_size: int) -> Iterator[GradientSession]:
        """A session with this batch size whose gradients can be added up."""
        self._let_go()
        with preserved_random_state():
            workload = self._source.with_batch_size(batch_size)
            feed = Feed(restartable(workload.train_loader), batch_size, longest=None)
            session = Session(dataclasses.replace(workload, train_loader=feed), self._settings)
            try:
                with (
                    session.open(preserve=not self._own_process),
                    closing(GradientSession(session, batch_size * session.accumulate)) as gradients,
                ):
                    memory_of(session.device).end()  # nothing is measured or limited here
                    yield gradients
            except TooFewSamples as error:
                raise WorkloadError(str(error)) from None

    @contextmanager
    def workload(self, batch_size: int) -> Iterator[Workload]:
        """The workload with this batch size, for whoever restores what is changed in it."""
        self._built = None
        self._let_go()
        with preserved_random_state():
            workload = self._source.with_batch_size(batch_size)
            memory_of(resolve_device(self._settings.device, workload)).end()  # nothing is measured or limited here
            yield workload

    def run(self, request: TrySize) -> Attempt:
        """Run a trial; an exception in it becomes its outcome."""
        self._let_go()
        started = perf_counter()
        failure: BaseException | None = None
        outcome: Outcome
        try:
            trial, timed = self._measure(request)
            return Attempt(dataclasses.replace(trial, seconds=perf_counter() - started), timed=timed)
        except TooFewSamples as error:
            outcome, reason = "too_few_samples", str(error)
        except (Exception, SystemExit) as error:
            outcome, reason = "failed", summary(error)
            if is_out_of_memory(error, limited=request.limit_bytes is not None):
                outcome = "out_of_memory"
            else:
                failure = error
        # after the except block, because the traceback keeps the tensors of the step alive
        _clean_up()
        seconds = perf_counter() - started
        return Attempt(Trial(request.batch_size, outcome, None, None, seconds, 0, reason=_first_line(reason)), failure)

    def time_step(self, request: TimeStep) -> LoaderTiming:
        """Time a training step, with or without its loader.

        Raises:
            UsageError: the loader's number of workers cannot be set.
            WorkloadError: with so many workers, there are no batches of this size.
        """
        size = request.batch_size
        self._let_go()
        with preserved_random_state():
            if self._built is None or self._built[0] != size:
                self._built = size, self._source.with_batch_size(size)
            built = self._built[1]
            try:
                return time_step(built, self._settings, size, request.workers, request.loads, not self._own_process)
            except TooFewSamples as error:
                raise WorkloadError(str(error)) from None

    def _let_go(self) -> None:
        """Drop what sizes were timed on."""
        if self._stopwatches:
            for stopwatch in self._stopwatches.values():
                stopwatch.close()
            self._stopwatches.clear()
            _clean_up()

    def _measure(self, request: TrySize) -> tuple[Trial, TimedSteps | None]:
        with preserved_random_state(), contextlib.ExitStack() as stack:
            early = None if self._own_process else self._source.with_batch_size(request.batch_size)
            device = resolve_device(self._settings.device, early) if early else self._device_of_trial()
            memory = memory_of(device)
            if not self._warm:
                warm_up(device)
                self._warm = True
            stack.callback(memory.end)
            if early is None:
                memory.begin(request.limit_bytes)
            workload = early or self._source.with_batch_size(request.batch_size)
            actual = resolve_device(self._settings.device, workload)
            if actual.type != device.type or actual.index not in (None, device.index):  # the target uses another GPU
                memory.end()
                memory = memory_of(actual)
                stack.callback(memory.end)
                memory.begin(request.limit_bytes)
            loader = evaluation_loader(workload) if request.evaluates else workload.train_loader
            feed = Feed(loader, request.batch_size, request.longest)
            session = Session(dataclasses.replace(workload, train_loader=feed), self._settings)
            stack.enter_context(session.open(preserve=not self._own_process))
            if early is not None:  # the weights are held already and count, the copy to restore them from does not
                model = workload.model
                memory.begin(request.limit_bytes, counted=bytes_of([*model.parameters(), *model.buffers()]))
            return take_steps(session, feed, memory, request, self._settings.trial_steps)

    def _device_of_trial(self) -> torch.device:
        """The device to warm up before the workload is built; for `auto`, that of a model on the CPU."""
        name = self._settings.device
        if name != "auto":
            return torch.device(name)
        return resolve_device(name, Workload(nn.Module(), ()))


def _clean_up() -> None:
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with contextlib.suppress(RuntimeError):  # the CUDA context is lost
            torch.cuda.empty_cache()


def _own_size(workload: Workload, session: Session) -> OwnSize | None:
    size = getattr(workload.train_loader, "batch_size", None)
    lr = session.own_lr if workload.optimizer is not None else None
    return OwnSize(size, lr, type(session.optimizers[0]).__name__) if isinstance(size, int) else None


def _source_digest(target: Any, workload: Workload) -> str:
    """Hash the files that define the target, its model and its dataset: a cached answer is only valid for those."""
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
