"""Whoever performs requests: this process or others; a search does not know which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.messages import A, H, Request

OnReport = Callable[[int, Any], None]
"""Receives the number of a request and what it reports."""


class Executor(Protocol[H]):
    """Performs requests, on one host or several at the same time."""

    workers: int  # the requests that run at the same time

    @property
    def sharing(self) -> int:
        """How many of them share the cores of one machine among themselves."""

    def ask(self, request: Request[H, A], on_report: OnReport = lambda number, content: None) -> A:
        """The answer to a single request.

        Raises:
            WorkerDiedError: its process died, as often as it was tried.
            Exception: what the request raised.
        """
        ((_, answer),) = self.run([request], on_report)
        if isinstance(answer, Died):
            raise WorkerDiedError(answer)
        return answer

    def run(self, requests: Sequence[Request[H, A]], on_report: OnReport = ...) -> Iterator[tuple[int, A | Died]]:
        """The number and the answer of each request, as they come; `Died` where its process died.

        Requests that are appended meanwhile are performed as well.

        Raises:
            Exception: what a request raised; those under way are abandoned.
        """

    def renew(self) -> bool:
        """Perform what follows in new processes; False where there is only this one."""

    def close(self) -> None:
        """End what was started."""


class InProcess(Executor[H]):
    """Performs requests in this process, one after the other."""

    workers = sharing = 1

    def __init__(self, host: H) -> None:
        self._host = host

    def run(
        self, requests: Sequence[Request[H, A]], on_report: OnReport = lambda number, content: None
    ) -> Iterator[tuple[int, A | Died]]:
        for number, request in enumerate(requests):
            yield number, request.perform(self._host, partial(on_report, number))

    def renew(self) -> bool:
        return False

    def close(self) -> None:
        pass
