"""Worker processes: what they answer, and what becomes of those that die; forked and spawned alike."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import small_hosts
from small_hosts import Do, Host

from lrscout.errors import (
    LrscoutError,
    RemoteError,
    TargetError,
    TargetImportError,
    UsageError,
    UserCodeError,
    WorkloadError,
)
from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.executor import InProcess
from lrscout.processes.messages import Limits
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import IN_WORKER, Spawner, make_starter
from lrscout.processes.transport import heard, lines_of, told

LINUX = sys.platform == "linux"
KILLED = Died(-signal.SIGKILL)


@pytest.fixture(params=["forked", "spawned"])
def starter(request):
    return request.getfixturevalue("shared_server") if request.param == "forked" else Spawner({})


@pytest.fixture
def pool(starter, tmp_path):
    with closing(WorkerPool(starter, Host, (str(tmp_path),), workers=2, attempts=2)) as made:
        yield made


@pytest.fixture
def forked(shared_server, tmp_path):
    """For what does not depend on how workers start."""
    with closing(WorkerPool(shared_server, Host, (str(tmp_path),), workers=2)) as made:
        yield made


def doubles(*numbers):
    return [Do(small_hosts.double, (n,)) for n in numbers]


def without_growth(answers):
    """A process that is killed has grown by some bytes or other."""
    return {n: Died(a.exit_code) if isinstance(a, Died) and a.out_of_memory is None else a for n, a in answers}


def test_every_request_gets_its_answer_and_its_reports(pool):
    reports = []
    found = dict(pool.run(doubles(*range(9)), on_report=lambda number, n: reports.append((number, n))))
    assert found == {n: 2 * n for n in range(9)}
    assert sorted(reports) == [(n, n) for n in range(9)]


def test_requests_run_side_by_side_in_processes_that_stay(pool):
    first = dict(pool.run([Do(small_hosts.where)] * 2))
    second = dict(pool.run([Do(small_hosts.where)] * 2))
    assert {place for place, _ in first.values()} == {0, 1}
    assert set(first.values()) == set(second.values())
    assert os.getpid() not in {pid for _, pid in first.values()}


def test_a_request_whose_process_died_is_tried_once_more(pool):
    assert dict(pool.run([Do(small_hosts.die_once), *doubles(1)])) == {0: "alive", 1: 2}


@pytest.mark.parametrize(("action", "died"), [(small_hosts.die, KILLED), (small_hosts.leave, Died(7))])
def test_a_request_that_kills_its_process_costs_no_other(pool, action, died):
    found = without_growth(pool.run([Do(action), *doubles(*range(4))]))
    assert found == {0: died, **{n + 1: 2 * n for n in range(4)}}


def test_a_deadly_request_is_tried_as_often_as_it_may_be(pool, tmp_path):
    dict(pool.run([Do(small_hosts.die)]))
    assert len(list(tmp_path.glob("tried-*"))) == 2


def test_a_single_request_raises_where_its_process_dies(forked):
    with pytest.raises(WorkerDiedError, match="SIGKILL") as caught:
        forked.ask(Do(small_hosts.die))
    assert caught.value.died.was_killed


def test_running_out_of_memory_counts_as_dying(pool):
    ((_, died),) = pool.run([Do(small_hosts.exhaust)])
    assert died == Died(None, out_of_memory="no room")
    assert str(died) == "ran out of memory: no room"


@pytest.mark.parametrize(
    ("died", "told"),
    [
        (Died(7), "exited with code 7"),
        (Died(-11), "was killed by SIGSEGV"),
        (Died(-9), "was killed by SIGKILL (perhaps out of memory)"),
        (Died(-37), "was killed by signal 37"),  # of real time
        (Died(-9, timed_out_after=2.5), "exceeded its time limit of 2.5 s"),
    ],
)
def test_a_death_is_described(died, told):
    assert str(died) == told


def test_a_renewed_pool_works_in_new_processes(forked):
    first, second = forked.ask(Do(small_hosts.count)), forked.ask(Do(small_hosts.count))
    assert forked.renew()
    assert (first, second, forked.ask(Do(small_hosts.count))) == (1, 2, 1)


def test_a_request_that_takes_too_long_is_ended(forked):
    ((_, died),) = forked.run([Do(small_hosts.sleep, limits=Limits(seconds=0.3))])
    assert died.timed_out_after == 0.3
    assert died.was_killed


def test_an_answer_that_comes_with_the_limit_costs_the_next_request_nothing(shared_server, tmp_path):
    hung_up = time.monotonic() + 0.5  # the parent looks away while the answer comes and the limit passes

    def wait():
        while time.monotonic() < hung_up:
            time.sleep(0.01)

    with closing(WorkerPool(shared_server, Host, (str(tmp_path),), on_wait=wait)) as pool:
        assert pool.ask(Do(small_hosts.doze, (0.2,), Limits(seconds=0.3))) == "awake"
        assert pool.ask(Do(small_hosts.count, limits=Limits(seconds=30))) == 2


@pytest.mark.skipif(not LINUX, reason="memory is watched on Linux only")
@pytest.mark.parametrize(("limit", "near"), [(40, True), (400, False)])
def test_a_death_near_the_memory_limit_is_told_from_any_other(forked, limit, near):
    ((_, died),) = forked.run([Do(small_hosts.fill, (40,), Limits(memory_bytes=limit << 20))])
    assert died.was_near_limit is near
    assert died.grown_bytes >= 36 << 20


def test_the_users_exception_comes_as_text_cut_to_the_users_code(pool):
    with pytest.raises(UserCodeError, match="ZeroDivisionError: batch 30 is bad") as caught:
        pool.ask(Do(small_hosts.stumble))
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteError)
    assert "small_hosts.py" in cause.traceback
    assert f"lrscout{os.sep}processes" not in cause.traceback


def test_an_exception_class_that_cannot_be_pickled_comes_too(forked):
    with pytest.raises(UserCodeError, match="NamedError: this and that"):
        forked.ask(Do(small_hosts.stumble_oddly))


def test_an_exception_that_cannot_be_printed_comes_by_its_name(forked):
    with pytest.raises(UserCodeError, match="UnprintableError") as caught:
        forked.ask(Do(small_hosts.stumble_without_words))
    assert "small_hosts.py" in caught.value.__cause__.traceback


def test_an_error_of_ours_that_the_user_derived_from_comes_as_ours(forked):
    with pytest.raises(UsageError, match="code 3") as caught:
        forked.ask(Do(small_hosts.refuse_in_his_own_way))
    assert type(caught.value) is UsageError


def test_a_worker_that_calls_sys_exit_is_the_users_failure(forked):
    with pytest.raises(UserCodeError, match="SystemExit: 3"):
        forked.ask(Do(small_hosts.exit_by_itself))


def test_our_own_errors_come_as_they_are(forked):
    with pytest.raises(UsageError, match="not this") as caught:
        forked.ask(Do(small_hosts.refuse))
    assert caught.value.hint == "but that"
    assert caught.value.__cause__ is None
    with pytest.raises(TargetImportError, match="cannot import") as caught:
        forked.ask(Do(small_hosts.refuse_because))
    assert "batch 30 is bad" in caught.value.__cause__.traceback


def test_an_exception_inside_an_answer_travels_as_one_that_is_raised(forked):
    found = forked.ask(Do(small_hosts.give_an_error))["failure"]
    assert isinstance(found, UserCodeError)
    assert "small_hosts.py" in found.__cause__.traceback


def test_a_worker_that_raised_is_not_asked_again(forked):
    with pytest.raises(UserCodeError):
        forked.ask(Do(small_hosts.stumble))
    assert forked.ask(Do(small_hosts.count)) == 1


def test_an_answer_that_cannot_travel_is_an_error_and_not_a_hang(forked):
    with pytest.raises(LrscoutError, match="cannot be sent back"):
        forked.ask(Do(small_hosts.give_what_cannot_travel))


def test_arguments_that_cannot_travel_are_refused(shared_server):
    with closing(WorkerPool(shared_server, Host, (lambda: None,))) as pool, pytest.raises(UsageError, match="sent to"):
        pool.ask(Do(small_hosts.count))


def test_arguments_that_cannot_be_read_there_are_refused(shared_server):
    arguments = (small_hosts.Unreadable(),)
    with closing(WorkerPool(shared_server, Host, arguments)) as pool, pytest.raises(UsageError, match="sent to"):
        pool.ask(Do(small_hosts.count))


@pytest.mark.skipif(not LINUX, reason="forks")
def test_a_death_is_noticed_though_a_child_holds_the_connection(forked):
    started = time.monotonic()
    ((_, died),) = forked.run([Do(small_hosts.fork_and_die)])
    assert died.was_killed
    assert time.monotonic() - started < 15  # the child sleeps for 20 s


def test_breaking_off_waits_for_nobody(pool):
    def stop(number, report):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        dict(pool.run([Do(small_hosts.sleep)] * 2, on_report=stop))
    assert time.monotonic() - started < 30
    assert dict(pool.run(doubles(4))) == {0: 8}


@pytest.mark.skipif(not LINUX, reason="/proc tells who lives")
def test_what_a_worker_started_ends_with_it(forked, tmp_path):
    def stop(number, report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dict(forked.run([Do(small_hosts.fork_and_sleep)], on_report=stop))
    child, deadline = Path("/proc", (tmp_path / "child").read_text(), "stat"), time.monotonic() + 20
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_a_worker_starts_no_workers(monkeypatch):
    monkeypatch.setenv(IN_WORKER, "1")
    with pytest.raises(UsageError, match="started another"):
        make_starter()


def test_this_process_performs_requests_in_the_same_way(tmp_path):
    executor, reports = InProcess(Host(0, str(tmp_path))), []
    found = dict(executor.run(doubles(3, 4), on_report=lambda number, n: reports.append((number, n))))
    assert (found, reports) == ({0: 6, 1: 8}, [(0, 3), (1, 4)])
    assert executor.ask(Do(small_hosts.count)) == 3
    assert not executor.renew()
    with pytest.raises(ZeroDivisionError):
        executor.ask(Do(small_hosts.stumble))


def test_requests_that_are_appended_meanwhile_are_performed_too(pool, tmp_path):
    for executor in (pool, InProcess(Host(0, str(tmp_path)))):
        requests, found = doubles(1), {}
        for number, answer in executor.run(requests):
            found[number] = answer
            if len(requests) < 4:
                requests += doubles(len(requests) + 1)
        assert found == {0: 2, 1: 4, 2: 6, 3: 8}


@pytest.mark.parametrize("error", [TargetError("No loader.", hint="Return one."), WorkloadError("Empty.")])
def test_an_error_that_is_told_keeps_its_class_and_its_words(error):
    back = heard(json.loads(json.dumps(told(error))))
    assert (type(back), back.message, back.hint, back.exit_code) == (
        type(error), error.message, error.hint, error.exit_code,
    )  # fmt: skip


def test_the_users_exception_is_told_with_its_traceback_and_place():
    try:
        float("x")
    except ValueError as error:
        back = heard(json.loads(json.dumps(told(error, " on rank 1"))))
    assert back.message == "The target's code failed on rank 1 with ValueError: could not convert string to float: 'x'."
    assert 'float("x")' in back.__cause__.traceback
    assert lines_of(back) == back.__cause__.traceback.splitlines()
