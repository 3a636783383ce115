"""lrscout as torchrun starts it: the first rank searches and starts the ranks anew, and the others have nothing to do.

A search starts its program several times, and ends it; a rank of torchrun is one process from beginning to end.
"""

from __future__ import annotations

import os
import signal

from lrscout.errors import UsageError
from lrscout.processes.parentage import signalled_with_parent
from lrscout.results import CommandTarget, Target
from lrscout.settings import RanksSettings, Settings

PREFIX = "TORCHELASTIC_"
STARTED = f"{PREFIX}RUN_ID"
PLACES = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
)
_ranks = 0  # that torchrun has started


def is_left_to_the_first() -> bool:
    """Whether this is a rank of torchrun's that has nothing to do."""
    return STARTED in os.environ and os.environ.get("RANK") != "0"


def take_over() -> None:
    """As the first rank of torchrun's, go on as if lrscout had been started with --nproc; elsewhere, do nothing.

    Raises:
        UsageError: there are ranks on other machines, which it cannot start.
    """
    global _ranks
    if STARTED not in os.environ:
        return
    signalled_with_parent(signal.SIGTERM)
    ranks, here = os.environ.get("WORLD_SIZE", "1"), os.environ.get("LOCAL_WORLD_SIZE", "1")
    if ranks != here:
        raise UsageError(
            f"torchrun has started {ranks} ranks, of which {here} are on this machine, and lrscout starts no others.",
            hint="Start torchrun by lrscout: lrscout find-lr --listen HOST -- srun torchrun ... -m lrscout.ranks"
            " mymod:build",
        )
    for name in [*os.environ]:
        if name in PLACES or name.startswith(PREFIX):
            del os.environ[name]
    _ranks = int(ranks)
    if _ranks > 1:
        os.environ["LRSCOUT_NPROC"] = ranks


def check_trains_on_ranks(settings: type[Settings], name: str, target: Target | CommandTarget) -> None:
    """See that a command can use the ranks that torchrun has started.

    Raises:
        UsageError: it cannot.
    """
    if _ranks <= 1:
        return
    name = name.replace("_", "-")
    if not issubclass(settings, RanksSettings):
        raise UsageError(
            f"lrscout {name} does not train a target on several ranks, and torchrun has started {_ranks}.",
            hint=f"Start it without torchrun: lrscout {name} ...",
        )
    if isinstance(target, CommandTarget):
        raise UsageError(
            f"A command starts its own ranks, and torchrun has started {_ranks} of lrscout.",
            hint=f"Start lrscout without torchrun: lrscout {name} -- COMMAND",
        )
