"""Worker processes: what they answer, and what becomes of those that die."""

from __future__ import annotations

import os
import time
from contextlib import closing

import pytest
import small_workers

from lrscout.engine.workers import Call, Died, Pool
from lrscout.errors import UsageError


@pytest.fixture
def pool(tmp_path):
    with closing(Pool(small_workers.Worker, (str(tmp_path),), small_workers.explain, 2)) as made:
        yield made


def answers(pool, *calls, **more):
    return dict(pool.run([Call(*call) for call in calls], **more))


def test_every_call_gets_its_answer_and_its_reports(pool):
    reports = []
    found = answers(
        pool, *[("double", (n,)) for n in range(9)], on_report=lambda number, n: reports.append((number, n))
    )
    assert found == {n: 2 * n for n in range(9)}
    assert sorted(reports) == [(n, n) for n in range(9)]


def test_calls_run_side_by_side_in_processes_that_stay(pool):
    first = answers(pool, ("where",), ("where",))
    second = answers(pool, ("where",), ("where",))
    assert {place for place, _ in first.values()} == {0, 1}
    assert set(first.values()) == set(second.values())
    assert os.getpid() not in {pid for _, pid in first.values()}


def test_a_call_whose_process_died_is_tried_once_more(pool):
    assert answers(pool, ("die_once",), ("double", (1,))) == {0: "alive", 1: 2}


@pytest.mark.parametrize(
    ("method", "reason"),
    [("die", "killed by SIGKILL, perhaps for want of memory"), ("leave", "ended with exit code 7")],
)
def test_a_call_that_kills_its_process_costs_no_other(pool, method, reason):
    found = answers(pool, (method,), *[("double", (n,)) for n in range(4)])
    assert found == {0: Died(reason), **{n + 1: 2 * n for n in range(4)}}


def test_a_deadly_call_is_tried_twice(pool, tmp_path):
    answers(pool, ("die",))
    assert len(list(tmp_path.glob("tried-*"))) == 2


def test_running_out_of_memory_counts_as_dying(pool):
    assert answers(pool, ("exhaust",)) == {0: Died("out of memory: no room")}


def test_what_a_call_raises_is_raised_here_as_it_is_explained(pool):
    with pytest.raises(RuntimeError, match="ZeroDivisionError: batch 30 is bad"):
        answers(pool, ("stumble",))
    with pytest.raises(UsageError, match="not this") as caught:
        answers(pool, ("refuse",))
    assert caught.value.hint == "but that"


def test_breaking_off_waits_for_nobody(pool):
    def stop(number, report):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        answers(pool, ("sleep",), ("sleep",), on_report=stop)
    assert time.monotonic() - started < 30
    assert answers(pool, ("double", (4,))) == {0: 8}
