"""Several optimizers, searched in turn: each has a result of its own, and the others keep their own rates meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from lrscout.results import LrRecord, OptimizerResult, SweepPoint, TrainingPoint
from lrscout.runs.lr.observer import LrObserver
from lrscout.runs.lr.search import search_by
from lrscout.runs.lr.trainer import LrSubject
from lrscout.runs.lr.work import LrWork
from lrscout.settings import FindLrSettings


def search_in_turn(works: Iterable[tuple[int, LrWork]], settings: FindLrSettings, observer: LrObserver) -> LrRecord:
    """Search by each work, which is about the optimizer of this number; Ctrl-C ends all of it, and keeps what ended.

    A work is asked for when those before it have ended.
    """
    record: LrRecord | None = None
    try:
        for number, work in works:
            if record is None:
                record = search_by(work, settings, observer)
            else:
                after = _Onward(observer, record, work.subject, number)
                record = after.record_with(search_by(work, settings, after))
            if record.status == "interrupted":
                break
    except KeyboardInterrupt:
        if record is None:
            raise
        record = dataclasses.replace(record, status="interrupted")
    assert record is not None
    return record


class _Onward(LrObserver):
    """Follows the search for a further optimizer, after those that the record has."""

    def __init__(self, observer: LrObserver, before: LrRecord, subject: LrSubject, number: int) -> None:
        self._observer, self._before, self._subject, self._number = observer, before, subject, number
        assert before.result is not None
        self._taken = before.result.steps + sum(other.result.steps for other in before.result.others)

    def phase(self, name: str) -> None:
        self._observer.phase(f"optimizer {self._number + 1}: {name}")

    def planned(self, steps: int) -> None:
        self._observer.planned(self._taken + steps)

    def stepped(self, point: SweepPoint | TrainingPoint, so_far: Callable[[], LrRecord]) -> None:
        self._observer.stepped(point, lambda: self.record_with(so_far()))

    def advanced(self, steps: int, lr: float, loss: float) -> None:
        self._observer.advanced(steps, lr, loss)

    def keep(self, so_far: Callable[[], LrRecord]) -> None:
        self._observer.keep(lambda: self.record_with(so_far()))

    def record_with(self, further: LrRecord) -> LrRecord:
        """The record of all searches."""
        before = self._before
        assert before.result is not None
        assert further.result is not None
        own = self._subject.environment
        found = OptimizerResult(self._number + 1, own["optimizer"], own["groups"], further.result)
        described = [*before.environment.get("optimizers", ()), *own.get("optimizers", ())]
        return dataclasses.replace(
            before,
            environment={**before.environment, **({"optimizers": described} if described else {})},
            status=further.status if further.status == "interrupted" else before.status,
            result=dataclasses.replace(before.result, others=(*before.result.others, found)),
            warnings=tuple(dict.fromkeys([*before.warnings, *further.warnings])),
        )
