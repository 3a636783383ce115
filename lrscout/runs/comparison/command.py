"""The host of a comparison's requests for a training command: every run starts it anew."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from lrscout.errors import LrscoutError
from lrscout.processes import attach_errors
from lrscout.processes.attach_errors import LENGTHEN, CommandEndedError, CommandFailedError, CommandKilledError
from lrscout.processes.command import AttachedCommand
from lrscout.processes.cores import cpu_cores
from lrscout.processes.driving import AttachedSession
from lrscout.processes.ranks import Attachment
from lrscout.results import CommandTarget, TrainingResult
from lrscout.runs.comparison.common import (
    TIMED_STEPS,
    WARMUP_STEPS,
    OnPoint,
    at_times,
    settings_of_sweep,
    steps_between,
    suggested,
    timed_steps,
)
from lrscout.runs.comparison.metric import metric_of
from lrscout.runs.comparison.printed import Printed, WatchedSession
from lrscout.runs.comparison.requests import FinishedRun, Inspection
from lrscout.runs.lr.command import CommandTrainer, values_for
from lrscout.runs.lr.search import search_lr
from lrscout.runs.programs import (
    OnOutput,
    Program,
    chosen_optimizers,
    driven_together,
    environment_facts,
    start_command,
    target_facts,
)
from lrscout.runs.schedules import ProgramSchedule
from lrscout.schedules import ScheduleSpec, parse_schedules
from lrscout.search.budget import Cost
from lrscout.search.comparison import PlannedRun, failed, scored
from lrscout.search.training import evaluation_steps, final_steps, run_training
from lrscout.settings import CompareSchedulersSettings

COMPARED_LOSSES = 3  # of two starts: the first may be the same on any data, as that of a head that begins with zeros
EARLY = (
    "The last {metric} of a run came before its last 5% of steps, so it does not tell how the schedules end. Let"
    " --steps be one more than a step after which the program evaluates, or put {{steps}} into the command."
)
SEEDS_ITSELF = (
    "The command begins with the same weights and losses at every start: it seeds itself, so one seed was scored, and a"
    " difference cannot be told from chance. Put {seed} where the command takes its seed, for example --seed {seed}."
)
IGNORES_SEED = (
    "The command begins with the same weights and losses whatever {seed} is: it ignores it, so one seed was scored, and"
    " a difference cannot be told from chance. Put {seed} where the command takes its seed."
)


class _Seen(NamedTuple):
    """What a look at a command has found."""

    found: Attachment
    beginning: str  # what tells it from that of others
    evaluates: bool
    warnings: tuple[str, ...]


class _Begun(NamedTuple):
    """A command at its first optimizer step."""

    found: Attachment
    fingerprint: str  # of the weights
    session: AttachedSession


class CommandWorkbench:
    """Makes runs, one after the other, each in a command of its own."""

    def __init__(self, target: CommandTarget, settings: CompareSchedulersSettings) -> None:
        self._target, self._settings = target, settings
        self._specs = parse_schedules(settings.schedules)
        self._environment = {} if settings.threads is None else {"OMP_NUM_THREADS": str(settings.threads)}

    def inspect(self, on_output: OnOutput | None = None) -> Inspection:
        """Start the command, with two seeds if there are several, and see what is in it and whether they differ.

        `on_output` receives what the first start prints; all others print the same again.
        """
        settings = self._settings
        seen = self._look(settings.seed, on_output, check=True)
        found = seen.found
        several = settings.seeds > 1 or settings.lr_mode == "tune"
        ignores_seed = several and self._look(settings.seed + 1).beginning == seen.beginning
        drive = chosen_optimizers(found, settings.optimizer)
        on_cpu = found.device.startswith("cpu")
        return Inspection(
            target=target_facts(self._target, found, drive),
            environment=environment_facts(self._target, found, drive),
            held_out=seen.evaluates,
            own_lr=driven_together(found.optimizers, drive).own_lr,
            devices=0 if on_cpu else 1,  # how many there are is not known without torch
            cores=max(1, cpu_cores() // found.ranks),
            warnings=tuple(dict.fromkeys((*found.warnings, *seen.warnings, *self._about_seed(ignores_seed)))),
            ignores_seed=ignores_seed,
        )

    def _about_seed(self, is_ignored: bool) -> tuple[str, ...]:
        if not is_ignored:
            return ()
        return (IGNORES_SEED if self._target.takes("seed") else SEEDS_ITSELF,)

    def _look(self, seed: int, on_output: OnOutput | None = None, check: bool = False) -> _Seen:
        """What is found in a command with this seed."""
        with self._start(on_output, seed, self._settings.steps) as command:
            found, fingerprint, session = self._begin(command)
            if check:
                for spec in self._specs:
                    ProgramSchedule(session, spec, 1.0, self._settings.steps, self._target.cwd)
                session.set_lr(None)
            for _ in range(COMPARED_LOSSES):
                session.step()
            beginning = " ".join([fingerprint, *map(_rounded, session.losses(wait=True))])
            return _Seen(found, beginning, session.evaluates, session.warnings())

    def sweep(self) -> float:
        """The rate that find-lr suggests.

        Raises:
            NoAnswerError: it suggests none.
        """
        settings = settings_of_sweep(self._settings)
        with Program(self._target, settings, environment=self._environment) as program:
            found = program.start(**values_for(settings, settings.seed))
            drive = chosen_optimizers(found, settings.optimizer)
            try:
                return suggested(search_lr(CommandTrainer(program, settings, drive, settings.seed), settings))
            except CommandFailedError:
                raise
            except CommandEndedError as error:
                hint = "Or give a rate to start from with --lr: finding one takes up to {:,} steps."
                hint = f"{LENGTHEN}\n{hint.format(settings.most_steps)}"
                raise CommandEndedError(error.message, hint=hint, steps=error.steps) from None

    def measure_cost(self) -> Cost:
        """What a run costs, from a few steps."""
        steps = WARMUP_STEPS + TIMED_STEPS
        began = time.perf_counter()
        printed = Printed(self._settings.metric_pattern)
        with self._start(printed.line, self._settings.seed, steps) as command:
            session = self._begin(command).session
            warm, step_seconds = timed_steps(session)
            stepped = time.perf_counter()
            session.evaluate()
            evaluated = time.perf_counter() if session.evaluates else stepped
            if self._is_let_end:
                self._let_end(command, None, steps)
        ended = time.perf_counter()
        return Cost(warm - began + ended - evaluated, step_seconds, evaluated - stepped)

    def run(self, plan: PlannedRun, steps: int, jobs: int, on_point: OnPoint) -> FinishedRun:
        """Make one run; one that fails says why."""
        spec, on_point = self._specs[plan.schedule], at_times(on_point)
        try:
            try:
                return self._trained(plan, spec, steps, on_point)
            except CommandKilledError:  # a second attempt, as at a run whose worker dies
                return self._trained(plan, spec, steps, on_point)
        except LrscoutError as error:
            return FinishedRun(failed(plan, spec, _reason(error)), error=error)

    def _trained(self, plan: PlannedRun, spec: ScheduleSpec, steps: int, on_point: OnPoint) -> FinishedRun:
        printed = Printed(self._settings.metric_pattern)
        with self._start(printed.line, plan.seed, steps) as command:
            try:
                _, fingerprint, session = self._begin(command)
                result = self._train(
                    session,
                    ProgramSchedule(session, spec, plan.peak_lr, steps, self._target.cwd),
                    printed,
                    steps,
                    on_point,
                )
                told = session.warnings()
                if result.status == "ok" and self._is_let_end:
                    self._let_end(command, result.points[-1].lr, steps)
            except CommandFailedError:
                raise
            except CommandEndedError as error:
                raise attach_errors.too_short(error.steps, steps, self._target.takes("steps"), command.output) from None
        problem = printed.problem(command.output) if result.status == "ok" else None
        if problem is not None:
            raise problem
        began = f"{fingerprint} {_rounded(result.points[0].loss)}"
        metric = metric_of(self._settings, session.evaluates)
        warnings = (EARLY.format(metric=metric.name),) if result.status == "ok" and printed.is_early else ()
        return FinishedRun(scored(plan, spec, result, metric, began, printed.values), (*told, *warnings))

    def _train(
        self, session: AttachedSession, schedule: ProgramSchedule, printed: Printed, steps: int, on_point: OnPoint
    ) -> TrainingResult:
        evaluated = set(steps_between(steps, self._settings) if schedule.needs_metric else ())
        if session.evaluates:
            evaluated |= evaluation_steps(steps, self._settings.evaluations)
        watched: AttachedSession | WatchedSession = session
        if self._settings.metric_regex is not None and not self._is_let_end:
            watched = WatchedSession(session, final_steps(steps).start, printed.last_steps_begin)
        return run_training(watched, schedule, steps, evaluated, on_point=on_point)

    @property
    def _is_let_end(self) -> bool:
        """Whether a command knows when to end, and may print the metric then."""
        return self._settings.metric_regex is not None and self._target.takes("steps")

    def _let_end(self, command: AttachedCommand, lr: float | None, steps: int) -> None:
        """Let the command go on to its end by itself."""
        command.release(lr)
        code = command.wait(self._settings.command_timeout)
        if code is None:
            raise attach_errors.too_long(self._settings.command_timeout, steps, command.output)
        if code != 0:
            command.close()  # with it, its last lines are here
            raise attach_errors.ended(code, command.steps, 0, command.output)

    def _start(self, on_output: OnOutput | None, seed: int, steps: int) -> AttachedCommand:
        values = {"seed": seed, "steps": steps}
        return start_command(self._target, self._settings, values, on_output, environment=self._environment)

    def _begin(self, command: AttachedCommand) -> _Begun:
        """Wait for the first optimizer step, and drive the optimizers that are asked for."""
        found = command.attach(keep=False)
        fingerprint = command.fingerprint()
        drive = chosen_optimizers(found, self._settings.optimizer)
        return _Begun(found, fingerprint, command.session(*drive))


def threads_of(settings: CompareSchedulersSettings, inspection: Inspection) -> int | None:
    """The threads of each run; None leaves it to the command."""
    if settings.threads is None and not inspection.devices and "OMP_NUM_THREADS" not in os.environ:
        return 1  # as for other targets: the last digits depend on it, and several runs may share the cores
    return settings.threads


def _rounded(loss: float) -> str:
    """A loss as it is the same on any kernel: those of a GPU may differ in the last digits."""
    return f"{loss:.3e}"


def _reason(error: LrscoutError) -> str:
    """An error in a line, with the last one that the command has printed where it failed by itself."""
    last = error.hint.splitlines()[-1].strip() if isinstance(error, CommandFailedError) and error.hint else ""
    return error.message.removesuffix(".") + (f": {last.removesuffix('.')}" if last else "")
