"""Requests that train something, whatever their host is; free of torch."""

from __future__ import annotations

import sys

from lrscout.processes.messages import A, H, Request

ATTEMPTS = 2  # at a request whose process dies
TELLING = {"PYTHONFAULTHANDLER": "1"}  # where a segfault in the user's code happened


class TrainingRequest(Request[H, A]):
    """A request that trains; running out of memory counts as the death of its process."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        if "torch" not in sys.modules:  # the host of a command needs none
            return False
        from lrscout.engine.out_of_memory import is_out_of_memory

        return is_out_of_memory(error)
