"""An executor on a Ray cluster, which schedules the requests, and tries those again whose node or process is lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from lrscout.errors import LrscoutError, summary
from lrscout.processes import ray_task
from lrscout.processes.deaths import Died
from lrscout.processes.executor import Executor, OnReport
from lrscout.processes.messages import A, Answered, H, Job, Message, Raised, Request
from lrscout.processes.ray_cluster import Needs, RayCluster
from lrscout.processes.transport import cannot_travel

TICK = 0.1  # seconds between two looks at the requests under way
QUEUED = 1000  # requests that Ray knows at a time: enough for any cluster, and few to look through or to cancel

_numbers = count()


class RayExecutor(Executor[H]):
    """Performs requests as tasks, each on a host made on its node by `make(0, *arguments)`.

    `make` must be importable by its name, and the arguments picklable. Ray tries a request `attempts` times. The
    limits of requests are not for Ray, whose nodes have their own. `folder` is where requests are performed; None: the
    copy that the nodes have.
    """

    sharing = 1  # Ray tells each how many cores it has

    def __init__(
        self,
        cluster: RayCluster,
        make: Callable[..., H],
        arguments: tuple[Any, ...],
        needs: Needs,
        *,
        folder: str | None = None,
        attempts: int = 1,
    ) -> None:
        self.workers = cluster.slots(needs)
        self._cluster, self._make, self._arguments, self._folder = cluster, make, arguments, folder
        self._number, self._tasks = next(_numbers), count()
        ray, wanted = cluster.ray, needs.of_node(cluster.has_gpus)
        again = {"max_retries": attempts - 1, "retry_exceptions": [ray_task.RanOutOfMemoryError]}
        self._perform = ray.remote(num_cpus=wanted["CPU"], num_gpus=wanted["GPU"], **again)(ray_task.perform)
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(cluster.here, soft=True)
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=beside)(ray_task.Mailbox).remote()
        self._post: Any = None  # what the mailbox has been asked for

    def run(
        self, requests: Sequence[Request[H, A]], on_report: OnReport = lambda number, content: None
    ) -> Iterator[tuple[int, A | Died]]:
        """The number and the answer of each request, as they come; `Died` where its process died.

        Raises:
            Exception: what a request raised; those under way are abandoned.
        """
        ray = self._cluster.ray
        following = 0
        pending: dict[Any, int] = {}  # by reference
        numbers: dict[int, int] = {}  # by task
        try:
            while pending or following < len(requests):
                while following < len(requests) and len(pending) < QUEUED:
                    task = next(self._tasks)
                    numbers[task] = following
                    pending[self._submitted(requests[following], task)] = following
                    following += 1
                ready, _ = ray.wait(list(pending), timeout=TICK)
                if ready:
                    ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)  # all that are
                for task, content in self._taken():
                    if task in numbers:
                        on_report(numbers[task], pickle.loads(content))
                for reference in ready:
                    yield pending.pop(reference), self._answer(reference)
        except BaseException:  # Ctrl-C too, and a caller that stops iterating: nobody waits for what is under way
            for reference in pending:
                with suppress(Exception):  # it has ended, or the cluster has
                    ray.cancel(reference, force=True)
            raise

    def renew(self) -> bool:
        """Ray makes processes as it sees fit."""
        return False

    def close(self) -> None:
        """End all tasks, and the cluster if it was started here."""
        self._cluster.close()

    def _submitted(self, request: Request[H, Any], task: int) -> Any:
        try:
            job = pickle.dumps(Job(self._make, 0, self._arguments, request), pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise cannot_travel(error) from None
        return self._perform.remote(self._number, self._folder, job, task, self._mailbox)

    def _taken(self) -> list[tuple[int, bytes]]:
        """What has been reported, as far as it is here."""
        ray = self._cluster.ray
        try:
            if self._post is None:
                self._post = self._mailbox.take.remote()
            if not ray.wait([self._post], timeout=0)[0]:
                return []
            reference, self._post = self._post, None
            return list(ray.get(reference))
        except ray.exceptions.RayError:  # the mailbox is lost, and with it nothing but the progress line
            return []

    def _answer(self, reference: Any) -> Any:
        """The answer of a task that has ended.

        Raises:
            Exception: what its request raised.
        """
        errors = self._cluster.ray.exceptions
        try:
            message: Message = pickle.loads(self._cluster.ray.get(reference))
        except errors.OutOfMemoryError as error:
            return Died(None, out_of_memory=_first_line(error))
        except (errors.RayTaskError, errors.RuntimeEnvSetupError) as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, ray_task.RanOutOfMemoryError):
                return Died(None, out_of_memory=str(cause))
            raise LrscoutError(
                f"A node of the Ray cluster cannot run lrscout: {summary(cause)}",
                hint="The nodes need the packages of the target, torch, and the Python of this machine.",
            ) from error
        except errors.NodeDiedError:
            return Died(None, account="was lost with its node")
        except errors.RayError as error:
            return Died(None, account=f"was lost: {_first_line(error)}", output=self._cluster.logs)
        match message:
            case Answered(value):
                return value
            case Raised(raised):
                raise raised
            case _:
                raise AssertionError(message)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
