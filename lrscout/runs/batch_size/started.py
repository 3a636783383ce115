"""A training command at one batch size, watched from outside while it is measured from inside."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from lrscout.engine.trials.requests import MALLOC
from lrscout.errors import LrscoutError
from lrscout.processes.ranks import Attachment
from lrscout.processes.status import GrowthWatch
from lrscout.results import CommandTarget
from lrscout.runs.programs import OnOutput, start_command
from lrscout.settings import FindBatchSizeSettings

LOOK_SECONDS = 0.2  # between two looks at the memory of the processes


class OutOfTimeError(LrscoutError):
    """A trial has taken all the time that it may take."""


class Started:
    """The command, from its start to `close`; after so many seconds, every wait for it ends in an OutOfTimeError.

    `measured` is the type of the device, and the limit on its memory in bytes; without it, memory is neither measured
    nor limited. `steps` is how many are to be taken.
    """

    def __init__(
        self,
        target: CommandTarget,
        settings: FindBatchSizeSettings,
        batch_size: int,
        steps: int,
        measured: tuple[str, int | None] | None,
        timeout: float,
        on_output: OnOutput | None,
        on_wait: Callable[[], None],
    ) -> None:
        self._on_wait = on_wait
        self._began = monotonic()
        self._timeout, self._deadline = timeout, self._began + timeout
        self.overhead = 0.0  # seconds that its start and its end took; 0 if it came to no step
        self._watches: dict[int, GrowthWatch] = {}
        self._next_look = 0.0
        # twice as many, so that the program does not end, nor save or evaluate at its end, while it is measured
        values = {"seed": settings.seed, "steps": 2 * steps, "batch_size": batch_size}
        self.command = start_command(
            target,
            settings,
            values,
            on_output,
            environment={} if measured is None else MALLOC,
            measured=measured,
            on_wait=self._waiting,
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines of the output."""
        return self.command.output

    @property
    def overdue(self) -> bool:
        """Whether its time is over."""
        return monotonic() >= self._deadline

    @property
    def exit_code(self) -> int | None:
        """The command's own."""
        return self.command.exit_code

    @property
    def grown(self) -> int:
        """How much memory the process that took most was seen to take, in bytes, since it had imported torch."""
        return max((watch.grown for watch in self._watches.values()), default=0)

    def attach(self) -> Attachment:
        """Wait for its first optimizer step, and stand there.

        Raises:
            LrscoutError: there is none.
        """
        found = self.command.attach(keep=False)
        self.overhead = monotonic() - self._began
        return found

    def out_of_time(self) -> OutOfTimeError:
        """What to say then."""
        return OutOfTimeError(f"It took longer than {self._timeout:g} s.", hint="Raise --timeout.")

    def close(self) -> None:
        """End the command, and everything that it started."""
        before = monotonic()
        self.command.close()
        if self.overhead:
            self.overhead += monotonic() - before

    def _waiting(self) -> None:
        now = monotonic()
        if now >= self._deadline:
            raise self.out_of_time()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        for pid in self.command.measured_processes:
            self._watches.setdefault(pid, GrowthWatch(pid)).look()
        self._on_wait()
