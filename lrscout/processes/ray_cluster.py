"""A Ray cluster: started on this machine, or one that is there; what this session needs of it, and its end."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lrscout
from lrscout.errors import Terminated, UsageError
from lrscout.processes.cores import cpu_cores
from lrscout.processes.signal_handlers import own_signal_handlers
from lrscout.processes.start import IN_WORKER

CONNECT_SECONDS = 5.0  # to reach an address; Ray itself tries for minutes
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent, and nobody is asked
    "RAY_TASK_OOM_RETRIES": "1",  # else a run that is too large for every node is tried forever
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a run that asks for no GPU sees none; set, Ray does not warn of it
}
# variables that runs get on every machine
CARRIED = ("OMP_NUM_THREADS", "PYTHONFAULTHANDLER", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task takes of a node while it runs."""

    cpus: float = 1.0
    gpus: float | None = None  # None: a whole one where the cluster has any

    def of_node(self, has_gpus: bool) -> dict[str, float]:
        """By the names that Ray has for them."""
        return {"CPU": self.cpus, "GPU": self.gpus if self.gpus is not None else float(has_gpus)}


class RayCluster:
    """A connection to a Ray cluster, of which a process has one at a time.

    Without an address, a cluster is started on this machine, and it ends with this process. `auto` is the one that
    runs here, or that RAY_ADDRESS names. Its nodes get lrscout itself, and a copy of `folder`.

    Raises:
        UsageError: Ray is not installed or connected already, or there is no cluster at the address.
    """

    def __init__(self, address: str | None, folder: str) -> None:
        os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
        try:
            import ray  # here and not above: it is an extra, and takes a second
        except ImportError:
            raise UsageError(
                "--engine ray needs Ray, which is not installed.",
                hint="pip install ray, or install lrscout with its extra [ray].",
            ) from None
        if ray.is_initialized():
            raise UsageError("This process is connected to Ray already.", hint="Call ray.shutdown() before.")
        self.ray: Any = ray
        self.is_own = address is None
        if address is not None and address != "auto":
            _reach(address)
        environment: dict[str, Any] = {
            "py_modules": [str(Path(lrscout.__file__).parent)],
            "env_vars": {IN_WORKER: "1", **{name: os.environ[name] for name in CARRIED if name in os.environ}},
        }
        if address is not None:
            environment["working_dir"] = folder
        try:
            with own_signal_handlers(), redirect_stdout(sys.stderr):
                self._connect(address, environment)
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str | None, environment: Mapping[str, Any]) -> None:
        new: dict[str, Any] = {"num_cpus": cpu_cores(), "include_dashboard": False} if self.is_own else {}
        try:
            self.ray.init(
                address=address or "local",
                runtime_env=environment,
                log_to_driver=False,
                logging_level="ERROR",
                **new,
            )
        except SystemExit:  # of Ray's handler of SIGTERM
            raise Terminated from None
        except ConnectionError as error:
            hint = "Start one with `ray start --head`, or leave out --ray-address to have one for this run alone."
            raise UsageError(f"There is no Ray cluster at --ray-address {address}: {error}", hint=hint) from None
        except (ValueError, RuntimeError, OSError) as error:  # an address it cannot read, a folder that is too large
            hint = None
            if "working_dir" in environment:
                hint = (
                    f"The nodes get a copy of {environment['working_dir']}, without what its .gitignore lists: keep"
                    " large files elsewhere, or list them there."
                )
            raise UsageError(f"Ray cannot be used: {error}", hint=hint) from None

    def slots(self, needs: Needs) -> int:
        """How many such tasks run at the same time.

        Raises:
            UsageError: none, on any node.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = {name: n for name, n in needs.of_node(self.has_gpus).items() if n}
        # a billionth, since 1 / 0.1 and its like are rounded down
        found = sum(min(int(node.get(name, 0.0) / n + 1e-9) for name, n in wanted.items()) for node in nodes)
        if not found:
            asked = " and ".join(f"{n:g} {name}" for name, n in wanted.items())
            there = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in nodes)
            raise UsageError(
                f"A run takes {asked}, and no node has so much: they have {there or 'nothing'}.",
                hint="Lower --cpus-per-run or --gpus-per-run, or start nodes that are large enough.",
            )
        return found

    @property
    def has_gpus(self) -> bool:
        return any(node["Resources"].get("GPU", 0) for node in self.ray.nodes() if node["Alive"])

    @property
    def here(self) -> str:
        """The node that this process is on."""
        return str(self.ray.get_runtime_context().get_node_id())

    @property
    def logs(self) -> str:
        """Where the output of tasks is."""
        where = "" if self.is_own else " of its node"
        node = self.ray._private.worker._global_node
        return f"in {node.get_logs_dir_path()}{where}" if node is not None else "in Ray's logs"

    def close(self) -> None:
        """End the cluster if it is our own, else leave it, with all tasks of this session ended."""
        with own_signal_handlers():
            self.ray.shutdown()


def _reach(address: str) -> None:
    """See whether anything listens at an address.

    Raises:
        UsageError: nothing does, or it is no HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(f"--ray-address {address} must be auto or HOST:PORT.", hint="For example 10.0.0.1:6379.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"There is no Ray cluster at --ray-address {address}: {error}.",
            hint="`ray status` on its head node tells the address; the port of a cluster is usually 6379.",
        ) from None
