"""Somebody's training program, trained to its end under a schedule of lrscout's."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from contextlib import suppress

from lrscout.errors import Terminated, UsageError
from lrscout.formatting import format_lr
from lrscout.processes.attach_errors import CommandEndedError, CommandFailedError
from lrscout.processes.command import AttachedCommand
from lrscout.processes.deaths import SIGNALLED, Died
from lrscout.results import CommandTarget, RunRecord, Status, TrainRunRecord, TrainRunResult
from lrscout.runs.programs import (
    OnOutput,
    chosen_optimizers,
    environment_facts,
    start_command,
    target_facts,
)
from lrscout.runs.schedules import ProgramSchedule
from lrscout.runs.training.observer import TrainingObserver
from lrscout.schedules import parse_schedule
from lrscout.search.training import follow_training
from lrscout.search.training_curve import TrainingCurve, final_loss
from lrscout.settings import DEFAULT_SCHEDULE, RunSettings


def train_program(
    target: CommandTarget,
    settings: RunSettings,
    observer: TrainingObserver | None = None,
    on_output: OnOutput | None = None,
    *,
    warnings: Sequence[str] = (),
) -> TrainRunRecord:
    """Start a command, set its rates by a schedule, and wait until it ends by itself.

    A program that fails in the middle is a result. After Ctrl-C it gets SIGINT too (SIGTERM, where Terminated is
    raised), and has the time that it needs to save its state; after a second one it is ended by force. `on_output`
    receives each line that the command prints, in another thread. `warnings` go into the record.

    Raises:
        UsageError: the rate or the number of steps is not known.
        CommandFailedError: it failed before its first step; its exit code is that of the error.
        LrscoutError: the command cannot be started, or not be attached to.
    """
    settings = dataclasses.replace(settings, schedule=settings.schedule or DEFAULT_SCHEDULE)
    if settings.lr is None:
        raise UsageError(
            "run needs a learning rate.",
            hint="Give --lr, or --from with the record of a find-lr or a compare-schedulers.",
        )
    if settings.steps is None:
        raise UsageError(
            "run needs the number of optimizer steps that the schedule is for.",
            hint="Give --steps, as many as the program takes. {steps} in the command passes them on to it.",
        )
    values = {"seed": settings.seed, "steps": settings.steps}
    # it may evaluate for hours between two steps, and its loggers are wanted
    command = start_command(target, settings, values, on_output, patience=math.inf)
    with command:
        try:
            training = _Training(command, target, settings, observer or TrainingObserver(), warnings)
        except CommandFailedError as error:
            error.exit_code = exit_code_of(command) or error.exit_code
            raise
        return training.run()


def exit_code_of(command: AttachedCommand) -> int | None:
    """The exit code of a command as a shell tells it; None as long as it is running."""
    code = command.exit_code
    return code if code is None or code >= 0 else SIGNALLED - code


class _Training:
    """One training, from the first step to the end of the program."""

    def __init__(
        self,
        command: AttachedCommand,
        target: CommandTarget,
        settings: RunSettings,
        observer: TrainingObserver,
        warnings: Sequence[str],
    ) -> None:
        assert settings.lr is not None
        assert settings.steps is not None
        assert settings.schedule is not None
        self._command, self._settings, self._observer = command, settings, observer
        self._peak, self._steps, spec = settings.lr, settings.steps, parse_schedule(settings.schedule)
        found = command.attach(keep=False)
        chosen = chosen_optimizers(found, settings.optimizer)
        self._target = target_facts(target, found, chosen)
        self._environment = environment_facts(target, found, chosen)
        self._session = command.session(*chosen, real=True)
        self._schedule = ProgramSchedule(self._session, spec, self._peak, self._steps, target.cwd)
        self._takes_steps = target.takes("steps")
        self._curve = TrainingCurve()
        self._lr: float | None = None  # of the last step that was told
        self._warnings = list(warnings)
        self._started = time.perf_counter()

    def run(self) -> TrainRunRecord:
        """Train, and make the record."""
        try:
            self._train()
        except KeyboardInterrupt as interrupt:
            self._pass_on(interrupt)
            return self._record("interrupted")
        code, taken = self._command.exit_code, self._curve.steps
        if code:
            steps = "1 optimizer step" if taken == 1 else f"{taken} optimizer steps"
            return self._record("failed", f"The command {Died(code)} after {steps}.")
        if taken < self._steps:
            hint = "" if self._takes_steps else ", or {steps} in the command"
            self._warnings.append(
                f"The program ended after {taken} steps, but the schedule was made for {self._steps} and did not come"
                f" to its end. Use --steps {taken} next time{hint}."
            )
        return self._record("ok")

    def _train(self) -> None:
        """Train until the command ends."""
        try:
            follow_training(self._session, self._schedule, self._steps, self._note)
        except CommandEndedError:  # or only the process that trained, and a script goes on
            self._command.release(self._lr)
            self._command.wait()

    def _note(self, lr: float, loss: float) -> None:
        self._curve.add(lr, loss)
        self._lr = lr
        taken = self._curve.steps
        if taken == self._steps + 1:
            over = f"The schedule of {self._steps} steps is over, and the program goes on at its last rate"
            hint = "" if self._takes_steps else " {steps} in the command can tell it when to end."
            self._observer.say(f"{over}, {format_lr(lr)}.{hint}")
        self._observer.stepped(taken, lr, loss, lambda: self._record("interrupted"))

    def _pass_on(self, interrupt: KeyboardInterrupt) -> None:
        """Let the program end as it does without lrscout: many save their state."""
        self._observer.say("Interrupted; waiting for the program to end. Ctrl-C again ends it by force.")
        self._command.release(self._lr)  # else one that trains on would wait for its next rate
        if isinstance(interrupt, Terminated):
            self._command.terminate()
        else:
            self._command.interrupt()
        with suppress(KeyboardInterrupt):
            self._command.wait()

    def _record(self, status: Status, error: str | None = None) -> TrainRunRecord:
        points = self._curve.points
        result = TrainRunResult(
            schedule=self._settings.schedule or "",
            peak_lr=self._peak,
            steps=self._steps,
            steps_taken=self._curve.steps,
            points=points,
            first_loss=self._curve.first_loss,
            final_loss=final_loss(points),
            seconds=time.perf_counter() - self._started,
            exit_code=exit_code_of(self._command),
        )
        return RunRecord(
            command="run",
            status=status,
            target=self._target,
            settings=dataclasses.asdict(self._settings),
            environment=self._environment,
            result=result,
            warnings=tuple(self._warnings),
            error=error,
        )
