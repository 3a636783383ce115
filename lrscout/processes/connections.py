"""Those who have connected to lrscout, from the processes of a command or from anywhere else."""

from __future__ import annotations

import secrets

from lrscout.errors import LrscoutError
from lrscout.processes import attach_errors
from lrscout.processes.listener import Listener
from lrscout.processes.ranks import Rank
from lrscout.processes.transport import heard


class Connections:
    """Who has said who it is, by the token that the command was started with."""

    def __init__(self, listener: Listener) -> None:
        self.token = secrets.token_hex(16)
        self.everybody: list[Rank] = []
        self.ranks: list[Rank] = []  # those who train together
        self.failure: LrscoutError | None = None  # what a program of lrscout's own has said that it raised
        self.dead: int | None = None  # the rank of it that ended without a word
        self._listener = listener

    def accept(self) -> None:
        """Take in who knocks; it may be anybody."""
        self.everybody.append(Rank(self._listener.accept()))

    def admit(self, awaited: bool) -> None:
        """See what those who are no ranks have said; whoever is one too many, or not `awaited`, goes on by itself.

        Raises:
            LrscoutError: one says that it has failed, or that it cannot be searched in.
        """
        for rank in [each for each in self.everybody if each not in self.ranks]:
            is_ours = rank.token is not None and secrets.compare_digest(rank.token, self.token)
            if is_ours and rank.failure is not None:
                self.failure = heard(rank.failure)
                raise self.failure
            if is_ours and rank.dead is not None:
                self.dead = rank.dead
            elif is_ours and awaited and rank.refusal is not None:
                raise attach_errors.refused(rank.refusal, 0)
            elif is_ours and awaited and rank.number not in {each.number for each in self.ranks}:
                self.ranks.append(rank)
                continue
            if rank.gone or rank.token is not None:
                rank.send(detach=1)
                rank.close()
                self.everybody.remove(rank)
