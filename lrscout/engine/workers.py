"""Work in processes of their own: what dies there costs one piece of work and not the whole."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from types import ModuleType
from typing import Any

PRELOADED = ["lrscout.engine.preloaded"]  # once, in the server that all workers are forked from
END_SECONDS = 5.0  # for a worker to end by itself


@dataclass(frozen=True, slots=True)
class Call:
    """A method of the workers' object, by its name and arguments; these, and its answer, travel between processes."""

    method: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Died:
    """The answer of a call whose process died, as often as it was tried."""

    reason: str


class Pool:
    """Up to `count` worker processes, each with an object of its own, made there by `make(place)`.

    `make` and `explain` must be importable by name. A call whose process dies or runs out of memory is tried once
    more in a new process; of anything else that is raised, `explain` makes what is raised here, since no traceback
    can travel. The last argument of every method is a function that sends something small meanwhile.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        arguments: tuple[Any, ...],
        explain: Callable[[BaseException], Exception],
        count: int,
    ) -> None:
        self._life, self.count = (make, arguments, explain), count
        # a plain fork hangs where torch's threads were used before, a fresh start takes seconds
        self._context = get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self._context.set_forkserver_preload(PRELOADED)
        self._workers: dict[int, _Worker] = {}

    def run(
        self, calls: Sequence[Call], on_report: Callable[[int, Any], None] = lambda number, report: None
    ) -> Iterator[tuple[int, Any]]:
        """Every call's number and answer, as they come; `Died` where its process died twice.

        Raises:
            Exception: what `explain` made of what a call raised.
        """
        waiting = deque(range(len(calls)))
        tries = [0] * len(calls)
        try:
            while waiting or self._busy():
                self._assign(waiting, calls)
                for worker in self._ready():
                    assert worker.number is not None
                    number, message = worker.number, worker.receive()
                    kind, content = message
                    if kind == "report":
                        on_report(number, content)
                        continue
                    worker.number = None
                    if kind == "raised":
                        raise content
                    if kind == "done":
                        yield number, content
                        continue
                    self._drop(worker)
                    tries[number] += 1
                    if tries[number] > 1:
                        yield number, Died(content)
                    else:
                        waiting.appendleft(number)
        except BaseException:  # Ctrl-C, and a caller that stops listening: nobody waits for what is under way
            self.close(at_once=True)
            raise

    def _assign(self, waiting: deque[int], calls: Sequence[Call]) -> None:
        for place in range(self.count):
            if not waiting:
                return
            worker = self._workers.get(place)
            if worker is None:
                worker = self._workers[place] = _Worker(self._context, place, self._life)
            if worker.number is None:
                worker.number = waiting.popleft()
                worker.send(calls[worker.number])

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.number is not None]

    def _ready(self) -> list[_Worker]:
        busy = {worker.pipe: worker for worker in self._busy()}
        return [busy[pipe] for pipe in connection.wait(list(busy))]

    def _drop(self, worker: _Worker) -> None:
        worker.end()
        del self._workers[worker.place]

    def close(self, at_once: bool = False) -> None:
        """End the processes."""
        for worker in self._workers.values():
            worker.end(at_once)
        self._workers.clear()


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, context: Any, place: int, life: tuple[Any, ...]) -> None:
        self.place = place
        self.number: int | None = None  # of the call under way
        self.pipe, theirs = context.Pipe()
        # not daemonic: a daemon may have no children, and DataLoaders have
        self._process = context.Process(target=_serve, args=(theirs, place, *life))
        with _main_set_aside():
            self._process.start()
        theirs.close()

    def send(self, call: Call) -> None:
        with suppress(OSError):  # it died meanwhile: receive will tell
            self.pipe.send(call)

    def receive(self) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = self.pipe.recv()
            return message
        except (EOFError, OSError):
            self._process.join(END_SECONDS)
            return "died", _cause(self._process.exitcode)

    def end(self, at_once: bool = False) -> None:
        if at_once:
            self._process.terminate()
        self.pipe.close()  # which ends its loop
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
    return f"ended with exit code {code}"


def _serve(
    pipe: Any,
    place: int,
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    explain: Callable[[BaseException], Exception],
) -> None:
    """A worker's life: answer calls until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    made = None
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            call = pipe.recv()
            try:
                made = made if made is not None else make(place, *arguments)
                answer = getattr(made, call.method)(*call.arguments, lambda report: pipe.send(("report", report)))
            except (Exception, SystemExit) as error:
                from lrscout.engine.out_of_memory import is_out_of_memory  # torch is here by now

                out = is_out_of_memory(error)
                pipe.send(("died", f"out of memory: {error}") if out else ("raised", explain(error)))
            else:
                pipe.send(("done", answer))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # taking torch apart costs a second


@contextmanager
def _main_set_aside() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in the worker, which needs nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
