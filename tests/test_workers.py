"""The number of workers that feeds a step: which are tried, which is named, and what ends it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.errors import WorkloadError
from lrscout.results import LoaderTiming
from lrscout.search.workers import examine_loading, fewest_workers, worker_counts


@dataclass
class FakeTimer:
    """A loader that takes so long for a batch, shared by its workers; one of 0 workers is in the way of the step."""

    loading: float = 0.020
    step: float = 0.004
    own: int | None = 0
    splits: bool = True  # whether the workers share the work
    fails_at: float = float("inf")
    interrupted_at: float = float("inf")
    slow: dict[int, float] = field(default_factory=dict)  # what the machine's other work adds, by call
    calls: list[int | str | None] = field(default_factory=list)

    def _noise(self):
        return self.slow.get(len(self.calls), 0.0)

    def with_workers(self, workers):
        self.calls.append(workers)
        count = self.own if workers is None else workers
        if (count or 0) >= self.interrupted_at:
            raise KeyboardInterrupt
        if workers is not None and workers >= self.fails_at:
            raise WorkloadError("The data set cannot be pickled.")
        wait = self.loading if not count else max(0.0, self.loading / (count if self.splits else 1) - self.step)
        seconds = self.step + wait + self._noise()
        return LoaderTiming(count, seconds, wait / seconds)

    def without_loader(self):
        self.calls.append("without")
        return self.step + self._noise()


def test_the_numbers_are_the_powers_of_two_up_to_the_cores():
    assert worker_counts(1) == [0, 1]
    assert worker_counts(2) == [0, 1, 2]
    assert worker_counts(6) == [0, 1, 2, 4]
    assert worker_counts(8) == [0, 1, 2, 4, 8]


def test_without_being_asked_only_the_loader_as_it_is_is_timed():
    timer = FakeTimer()
    found = examine_loading(timer)
    assert found.own.seconds_per_step == pytest.approx(0.024)
    assert found.own.loader_share == pytest.approx(20 / 24)
    assert found.seconds_without == 0.004
    assert (found.timings, found.workers, found.fed, found.problem) == ((), None, False, None)
    assert set(timer.calls) == {None, "without"}


def test_the_fewest_workers_that_feed_the_step_are_named_and_no_more_are_tried():
    timer = FakeTimer(loading=0.015)
    found = examine_loading(timer, cores=64)
    assert (found.workers, found.fed) == (4, True)
    assert [t.workers for t in found.timings] == [0, 1, 2, 4]
    assert max(call for call in timer.calls if isinstance(call, int)) == 4


def test_where_no_number_feeds_the_step_the_fewest_near_the_fastest_are_named():
    found = examine_loading(FakeTimer(loading=0.1, step=0.02, splits=False), cores=8)
    assert [t.workers for t in found.timings] == [0, 1, 2, 4, 8]
    assert (found.workers, found.fed) == (1, False)  # it loads while the step computes; more add nothing


def test_the_targets_own_number_is_compared_too():
    found = examine_loading(FakeTimer(own=3, loading=0.1), cores=2)
    assert [t.workers for t in found.timings] == [0, 1, 2, 3]
    assert (found.workers, found.own.workers) == (3, 3)


def test_a_number_that_was_timed_in_a_bad_moment_is_not_judged_by_it():
    bad_first_round = dict.fromkeys(range(1, 5), 0.1)
    found = examine_loading(FakeTimer(slow=bad_first_round), cores=2)
    assert found.own.seconds_per_step == pytest.approx(0.024)
    assert found.workers == 2


def test_what_fails_with_more_workers_ends_the_trying_and_keeps_the_rest():
    found = examine_loading(FakeTimer(fails_at=2), cores=8)
    assert [t.workers for t in found.timings] == [0, 1]
    assert (found.workers, found.problem) == (1, "The data set cannot be pickled.")


@pytest.mark.parametrize("own", [None, 0])
def test_a_loader_that_takes_no_other_number_gives_no_answer(own):
    found = examine_loading(FakeTimer(own=own, fails_at=0 if own is None else 1), cores=8)
    assert (found.workers, found.fed, found.problem) == (None, False, "The data set cannot be pickled.")
    assert found.own.seconds_per_step == pytest.approx(0.024)


def test_a_step_that_cannot_be_timed_at_all_is_told():
    class Broken(FakeTimer):
        def with_workers(self, workers):
            raise WorkloadError("The loader hangs.")

    found = examine_loading(Broken(), cores=8)
    assert (found.own, found.seconds_without, found.workers, found.fed) == (None, None, None, None)
    assert found.problem == "The loader hangs."


def test_ctrl_c_keeps_what_was_timed():
    found = examine_loading(FakeTimer(interrupted_at=2), cores=8)
    assert (found.interrupted, found.problem) == (True, "The timing was interrupted.")
    assert [t.workers for t in found.timings] == [0, 1]
    assert found.workers is None  # the best may be yet to come


@given(st.lists(st.floats(1e-4, 10), min_size=2, max_size=8))
def test_fewer_workers_than_named_are_slower_by_more_than_a_twentieth(seconds):
    timings = [LoaderTiming(workers, each, 0.5) for workers, each in enumerate(seconds)]
    chosen = fewest_workers(timings)
    assert chosen.seconds_per_step <= 1.05 * min(seconds)
    assert all(each > 1.05 * min(seconds) for each in seconds[: chosen.workers])
