"""What is said where a command cannot be searched in: what happened, what was seen, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrscout.errors import LrscoutError, TargetError, UsageError
from lrscout.processes.deaths import Died
from lrscout.processes.ranks import Refusal

SHOWN_LINES = 15
NO_PYTHON = (
    "lrscout gets into a program through PYTHONPATH, so `python -I`, `-E` and `-S`, containers, "
    "and scripts that set PYTHONPATH anew keep it out."
)
NO_TORCH = "Does the command train in this machine's own processes?"
NO_STEP = "Weights that are updated by hand, or by an optimizer that is not torch's, cannot be searched for this way."


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the processes of a command came."""

    pythons: int  # that lrscout got into
    with_torch: int

    def __str__(self) -> str:
        if not self.pythons:
            return "No Python process of it could be attached to."
        pythons = "One Python process was" if self.pythons == 1 else f"{self.pythons} Python processes were"
        return f"{pythons} seen, and {self.with_torch or 'none'} of them imported torch."

    @property
    def hint(self) -> str:
        """What is likely, and what to do."""
        return NO_PYTHON if not self.pythons else NO_TORCH if not self.with_torch else NO_STEP


class NotAttachedError(TargetError):
    """The command has no torch optimizer that steps."""


LENGTHEN = "Raise the program's own number of steps or epochs: lrscout ends it when it has seen enough."


class CommandEndedError(LrscoutError):
    """The command ended in the middle of a search."""

    def __init__(self, message: str, *, hint: str | None = None, steps: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.steps = steps  # that it took before


class CommandFailedError(CommandEndedError):
    """The command failed by itself: nothing that lrscout did."""


class CommandKilledError(CommandFailedError):
    """A signal killed the command, as the kernel does where memory is short."""


def refused(refusal: Refusal, steps: int) -> LrscoutError:
    """A process has said that it cannot be searched in."""
    if refusal.reason == "closure":
        return UsageError(
            f"{refusal.about} calls the loss several times a step, and a learning rate is measured by one loss a step.",
            hint="Train with a first-order optimizer such as AdamW or SGD.",
        )
    if refusal.reason == "no loss":
        return TargetError(
            f"{refusal.about} took a step without a backward pass before it, so there is no loss to measure.",
            hint="lrscout sees loss.backward() and torch.autograd.backward(loss), but not torch.autograd.grad.",
        )
    if refusal.reason == "replaced":
        return TargetError(
            f"{refusal.about} does not step any more after {steps} steps; other optimizers do.",
            hint="The program seems to train in several phases; have it begin with the one that matters, or name"
            " another optimizer by --optimizer.",
        )
    return LrscoutError(
        f"The program's state could not be copied, after {steps} steps: {refusal.about}.",
        hint="This is a fault of lrscout; please report it, with the kind of model that was trained.",
    )


def never_stepped(subject: str, code: int | None, seen: Seen, output: Sequence[str]) -> LrscoutError:
    """The command ended before the first step."""
    if code:
        return CommandFailedError(f"{subject} {Died(code)} before its first optimizer step.", hint=_last_lines(output))
    return NotAttachedError(
        f"{subject} ended without a step of a torch optimizer. {seen}", hint=_joined(seen.hint, _last_lines(output))
    )


def timed_out(
    subject: str, seconds: float, here: int, expected: int, seen: Seen, output: Sequence[str]
) -> NotAttachedError:
    """No first step came in time, or not on every rank."""
    if here:
        message = f"Only {here} of {expected} ranks came to an optimizer step within {seconds:g} s."
        return NotAttachedError(message, hint=_joined("Do all ranks train?", _last_lines(output)))
    return NotAttachedError(
        f"{subject} took no step of a torch optimizer within {seconds:g} s. {seen}",
        hint=_joined("If it needs longer to start, raise --timeout.", seen.hint, _last_lines(output)),
    )


def stalled(subject: str, seconds: float, steps: int, output: Sequence[str]) -> LrscoutError:
    """No further step came in time."""
    return TargetError(
        f"{subject} took no further step within {seconds:g} s, after {steps} optimizer steps.",
        hint=_joined(
            "If it pauses that long by itself, to evaluate, raise --timeout. A program that leaves out steps whose loss"
            " is not finite never steps again: give a smaller range, for example --max-lr 0.1.",
            _last_lines(output),
        ),
    )


def ended(
    code: int | None, steps: int, rank: int, output: Sequence[str], subject: str = "The command"
) -> CommandEndedError:
    """The command, or one of its ranks, ended in the middle."""
    taken = "1 optimizer step" if steps == 1 else f"{steps} optimizer steps"
    if code == 0:
        return CommandEndedError(
            f"{subject} ended after {taken}, and the search needs more.",
            hint=f"{LENGTHEN} Or lower --steps.",
            steps=steps,
        )
    what = f"{subject} {Died(code)}" if code is not None else f"The process of rank {rank} ended"
    kind = CommandKilledError if code is not None and code < 0 else CommandFailedError
    return kind(f"{what} after {taken}.", hint=_last_lines(output), steps=steps)


def too_short(taken: int, steps: int, takes_steps: bool, output: Sequence[str]) -> CommandEndedError:
    """The command ended by itself before the steps of a run."""
    lengthen = "Raise the program's own number of steps or epochs, put {steps} in its place,"
    if takes_steps:
        lengthen = f"{{steps}} was {steps}: if it counts batches, or epochs, give a larger number in its place,"
    return CommandEndedError(
        f"The command ended after {taken} optimizer steps, and a run takes {steps} (--steps).",
        hint=_joined(f"{lengthen} or lower --steps. lrscout ends it when it has seen enough.", _last_lines(output)),
        steps=taken,
    )


def too_long(seconds: float, steps: int, output: Sequence[str]) -> LrscoutError:
    """The command was told its number of steps, and went on after them."""
    return TargetError(
        f"The command has {{steps}} in it, and did not end within {seconds:g} s after {steps} optimizer steps.",
        hint=_joined(
            "With --metric-regex such a command is waited for, since it may evaluate at its end. If it needs longer for"
            " that, raise --timeout. If {steps} does not set the number of its optimizer steps, put a"
            " number in its place: then the last value that is printed within --steps counts.",
            _last_lines(output),
        ),
    )


def nothing_printed(pattern: str, found: str | None, output: Sequence[str]) -> LrscoutError:
    """The command printed no value of the metric, or something else in its place."""
    said = "nothing that matches" if found is None else f"{found!r}, which is no number, as the last match of"
    hint = "Does the program evaluate within --steps?" if found is None else "The group must match a number alone."
    return TargetError(
        f"The command printed {said} --metric-regex {pattern!r}.", hint=_joined(hint, _last_lines(output))
    )


def _last_lines(output: Sequence[str]) -> str | None:
    shown = [line for line in output if line.strip()][-SHOWN_LINES:]
    return "\n".join(["Its last lines:", *(f"  {line}" for line in shown)]) if shown else None


def _joined(*parts: str | None) -> str:
    return "\n".join(part for part in parts if part)
