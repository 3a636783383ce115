"""A pool of worker processes: what dies in one of them costs one request, not the search."""

from __future__ import annotations

import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from time import monotonic
from typing import Any

from lrscout.errors import LrscoutError
from lrscout.processes.deaths import Died
from lrscout.processes.executor import Executor, OnReport
from lrscout.processes.messages import A, Answered, H, Job, Limits, OutOfMemory, Raised, Reported, Request
from lrscout.processes.start import Starter, WorkerProcess
from lrscout.processes.status import GrowthWatch
from lrscout.processes.transport import cannot_travel

TICK = 0.1  # seconds between two looks at the requests under way
END_SECONDS = 1.0  # for an idle worker to end by itself


class WorkerPool(Executor[H]):
    """Up to `workers` processes, each with a host of its own, made there by `make(place, *arguments)`.

    `make` must be importable by its name, and the arguments picklable. A request whose process dies is tried
    `attempts` times. `on_wait` is called several times a second while requests are under way.
    """

    def __init__(
        self,
        starter: Starter,
        make: Callable[..., H],
        arguments: tuple[Any, ...],
        *,
        workers: int = 1,
        attempts: int = 1,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.workers = workers
        self._starter, self._make, self._arguments = starter, make, arguments
        self._attempts, self._on_wait = attempts, on_wait
        self._alive: dict[int, _Worker] = {}

    @property
    def sharing(self) -> int:
        """All of them share the cores of this machine."""
        return self.workers

    def run(
        self, requests: Sequence[Request[H, A]], on_report: OnReport = lambda number, content: None
    ) -> Iterator[tuple[int, A | Died]]:
        """The number and the answer of each request, as they come; `Died` where its process died.

        Raises:
            Exception: what a request raised; those under way are abandoned.
        """
        waiting, known = deque[int](), 0
        attempts = Counter[int]()
        try:
            while waiting or self._busy() or known < len(requests):
                waiting.extend(range(known, len(requests)))
                known = len(requests)
                self._assign(waiting, requests)
                for worker in self._ready():
                    number = worker.number
                    assert number is not None
                    match worker.receive():
                        case Reported(content):
                            on_report(number, content)
                        case Answered(value):
                            worker.number = None
                            if worker.timed_out:  # it answered in the instant in which it was killed
                                self._drop(worker)
                            yield number, value
                        case Raised(error):
                            worker.number = None
                            raise error
                        case Died() as died:
                            self._drop(worker)
                            attempts[number] += 1
                            if attempts[number] < self._attempts:
                                waiting.appendleft(number)
                            else:
                                yield number, died
        except BaseException:  # Ctrl-C too, and a caller that stops iterating: nobody waits for what is under way
            self._end_workers(at_once=True)
            raise

    def renew(self) -> bool:
        """End the workers, so that what follows runs in new processes; whether it does."""
        self._end_workers()
        return True

    def close(self) -> None:
        """End all processes that were started for this pool."""
        self._end_workers()
        self._starter.close()

    def _assign(self, waiting: deque[int], requests: Sequence[Request[H, Any]]) -> None:
        for place in range(self.workers):
            if not waiting:
                return
            worker = self._alive.get(place)
            if worker is None:
                worker = self._alive[place] = _Worker(self._starter.start(), place)
            if worker.number is None:
                number = waiting.popleft()
                worker.send(Job(self._make, place, self._arguments, requests[number]), number)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._alive.values() if worker.number is not None]

    def _ready(self) -> list[_Worker]:
        """The busy workers that have said something, or died."""
        busy = self._busy()
        # its end too: a child of the worker may hold the connection open
        ready = connection.wait([each for w in busy for each in (w.process.connection, w.process.sentinel)], TICK)
        if not ready:
            self._on_wait()
        for worker in busy:
            worker.look()
        return [w for w in busy if w.process.connection in ready or w.process.sentinel in ready]

    def _drop(self, worker: _Worker) -> None:
        del self._alive[worker.place]
        worker.end(at_once=True)

    def _end_workers(self, at_once: bool = False) -> None:
        while self._alive:
            _, worker = self._alive.popitem()
            worker.end(at_once)


class _Worker:
    """A worker process, and the request that it has."""

    def __init__(self, process: WorkerProcess, place: int) -> None:
        self.process, self.place = process, place
        self.number: int | None = None  # of the request under way
        self._limits, self._started, self.timed_out = Limits(), 0.0, False
        self._growth: GrowthWatch

    def send(self, job: Job[Any], number: int) -> None:
        """Send a request.

        Raises:
            UsageError: it cannot be pickled.
        """
        self.number, self._limits, self._started, self.timed_out = number, job.request.limits, monotonic(), False
        self._growth = GrowthWatch(self.process.pid)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has died: receive tells
                self.process.connection.send(job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise cannot_travel(error) from None

    def look(self) -> None:
        """See how much its memory has grown, and kill it if its time is up and its answer is not here."""
        self._growth.look()
        limit = self._limits.seconds
        late = limit is not None and monotonic() > self._started + limit
        if late and not self.timed_out and not self.process.connection.poll():
            self.timed_out = True
            self.process.kill()

    def receive(self) -> Reported | Answered | Raised | Died:
        """What the worker said.

        Raises:
            LrscoutError: the process that knows how it died is gone.
        """
        try:
            if not self.process.connection.poll():
                raise EOFError  # it has ended, and left the connection to a child
            message: Reported | Answered | Raised | OutOfMemory = self.process.connection.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            seconds = self._limits.seconds if self.timed_out else None
            return Died(self._exit_code(), self._growth.grown, self._limits.memory_bytes, timed_out_after=seconds)
        return Died(None, out_of_memory=message.reason) if isinstance(message, OutOfMemory) else message

    def _exit_code(self) -> int | None:
        if self.process.wait(END_SECONDS) is None:  # it closed its connection and lives on
            self.process.kill()
        return self.process.wait(None)

    def end(self, at_once: bool = False) -> None:
        """End the process and all that it started; one that is idle ends by itself."""
        self.process.connection.close()
        with suppress(LrscoutError):  # the server is gone, and all workers with it
            if at_once or self.process.wait(END_SECONDS) is None:
                self.process.kill()
                self.process.wait(None)
        self.process.kill()  # what it left behind
        self.process.close()
