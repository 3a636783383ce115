"""`python -m lrscout.ranks TARGET --nproc 2`: starts the ranks of the training program; without --nproc, it is one."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from time import sleep

from lrscout.errors import LrscoutError, UsageError, exited
from lrscout.processes.transport import told
from lrscout.ranks.arguments import read
from lrscout.ranks.launcher import END_SECONDS, STORE, is_first_to_fail, launch
from lrscout.ranks.telling import tell
from lrscout.tracebacks import user_traceback

PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # what a launcher tells each rank
LET_END_SECONDS = 0.5  # before an error is told: if another rank was killed, this one's is that nobody answers any more


def main() -> int:
    """Start the ranks, or train as one of them; the exit code."""
    try:
        arguments = read(sys.argv[1:])
        if arguments.nproc is not None and STORE not in os.environ:
            return launch(arguments.nproc, sys.argv[1:])
        _check_started()
        from lrscout.ranks.program import train  # here and not above: it brings torch

        try:
            train(arguments)
        except SystemExit as end:
            if type(end) is SystemExit:
                raise exited(end) from end
            raise  # lrscout has seen enough
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sleep(LET_END_SECONDS)
        if not is_first_to_fail(os.environ.get(STORE)):
            sleep(END_SECONDS)  # until it is ended: its error is the same
        elif not tell(failed=told(error, f" on rank {os.environ.get('RANK', 0)}")):
            os.write(2, _shown(error).encode(errors="replace"))  # in one piece, since others write as well
        return error.exit_code if isinstance(error, LrscoutError) else 1
    return 0


def _check_started() -> None:
    missing = [name for name in PLACES if name not in os.environ]
    if missing:
        raise UsageError(
            f"This is one rank of several, started without {', '.join(missing)} in its environment.",
            hint="Add --nproc 2 to start two here, or start it with torchrun --nproc-per-node 2 -m lrscout.ranks ...",
        )


def _shown(error: BaseException) -> str:
    if isinstance(error, LrscoutError):
        cause = user_traceback(error.__cause__) + "\n" if error.shows_cause and error.__cause__ else ""
        return f"{cause}{error}\n"
    return user_traceback(error) + "\n"


def entry() -> None:
    """End at once: taken apart in order, a process group would wait for ranks that may be gone."""
    code = main()
    if code < 0:  # as its rank did
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
