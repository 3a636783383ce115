"""Starts the ranks of the training program on this machine; without torch, which each of them takes seconds to import.

torchrun would do as well. It imports torch itself, at every start, and hides a rank's error under a report of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, sleep

from lrscout.processes.cores import cpu_cores
from lrscout.processes.deaths import Died
from lrscout.processes.parentage import signalled_with_parent
from lrscout.ranks.telling import tell

STORE = "LRSCOUT_RANKS_STORE"  # the file in which the ranks find each other: unlike a port, nobody else can take it
LOOK_SECONDS = 0.02  # between two looks at the ranks
END_SECONDS = 5.0  # for the others to end, once one has failed


def launch(ranks: int, argv: Sequence[str]) -> int:
    """Start so many ranks, and wait until all have ended, or one has failed, which ends the others.

    Returns:
        The exit code of the first that failed, minus the signal's number where a signal killed it; 0 if none did.
    """
    # below lrscout's own folder, which is removed even if this process is killed
    with tempfile.TemporaryDirectory(dir=os.environ.get("LRSCOUT_ATTACH_FOLDER"), prefix="lrscout-") as folder:
        store = os.path.join(folder, "store")
        processes = [_start(rank, ranks, argv, store) for rank in range(ranks)]
        told_to_end = False

        def pass_on(number: int, _: object) -> None:
            nonlocal told_to_end
            told_to_end = True
            _send(processes, number)

        signal.signal(signal.SIGTERM, pass_on)
        if "LRSCOUT_ATTACH_ADDRESS" in os.environ:  # by lrscout's supervisor, without which nobody would end the ranks
            signalled_with_parent(signal.SIGTERM)
        signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to them as well
        while True:
            codes = [process.poll() for process in processes]
            failed = next((rank for rank, code in enumerate(codes) if code), None)
            if failed is not None:
                code = codes[failed] or 0
                silent = not told_to_end and is_first_to_fail(store)
                if silent and not tell(dead=failed) and code < 0:
                    print(f"Rank {failed} {Died(code)}.", file=sys.stderr, flush=True)
                _end(processes)
                return code
            if None not in codes:
                return 0
            sleep(LOOK_SECONDS)


def is_first_to_fail(store: str | None) -> bool:
    """Whether no rank has said yet that it failed; each asks once."""
    with suppress(FileExistsError):
        if store is not None:
            os.close(os.open(f"{store}.failed", os.O_CREAT | os.O_EXCL))
        return True
    return False


def _start(rank: int, ranks: int, argv: Sequence[str], store: str) -> subprocess.Popen[bytes]:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, STORE: store}
    environment = {
        "OMP_NUM_THREADS": str(max(1, cpu_cores() // ranks)),
        **os.environ,
        **{name: str(value) for name, value in places.items()},
    }
    return subprocess.Popen([sys.executable, "-m", str(__package__), *argv], env=environment)


def _send(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(number)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate the ranks that are still running, and kill what is left a little later."""
    _send(processes, signal.SIGTERM)
    deadline = monotonic() + END_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - monotonic()))
    _send(processes, signal.SIGKILL)
    for process in processes:
        process.wait()
