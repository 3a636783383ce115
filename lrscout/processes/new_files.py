"""The files that a program leaves in a folder: what is there afterwards and was not there before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

MAX_ENTRIES = 20_000  # of all folders together; listing them takes 0.02 s to 0.3 s from a local disk
MAX_IN_FOLDER = 5_000  # a folder with more is a data set, whose files must not use up the limit of all folders
MAX_SECONDS = 1.0  # on a file system that is slow
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})  # beside the hidden ones
VIRTUAL_ENVIRONMENT = "pyvenv.cfg"


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was not there before, or a folder of them."""

    path: str  # relative to the folder that was looked at
    size: int  # in bytes; of a folder, of all files under it
    files: int | None = None  # under a folder; None for a file


@dataclass(frozen=True, slots=True)
class NewFiles:
    """What is new, largest first."""

    found: tuple[NewFile, ...]
    complete: bool  # whether everything was looked at, and counted


class FolderContents:
    """Remembers what is under a folder, so far as that is quick.

    Hidden files, caches and virtual environments are left out, and folders that cannot be read; links to folders are
    not followed.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, max_entries: int = MAX_ENTRIES, max_seconds: float = MAX_SECONDS
    ) -> None:
        self._folder = Path(folder).absolute()
        self._max_entries, self._max_seconds = max_entries, max_seconds
        self._names: dict[Path, frozenset[str]] = {}  # of every folder that was listed as a whole
        budget = self._budget()
        waiting = deque([self._folder])  # widest first: what a program writes seldom lies deep
        while waiting and not budget.spent:
            place = waiting.popleft()
            entries = _listed(place, budget)
            if entries is not None:
                self._names[place] = frozenset(entry.name for entry in entries)
                waiting.extend(place / entry.name for entry in entries if _is_folder(entry))
        self._complete = budget.complete and not waiting

    def new(self, except_for: Collection[Path] = ()) -> NewFiles:
        """What has come since, but for these files; a new folder is one entry, with all that is under it."""
        listing, counting = self._budget(), self._budget()
        entries = [
            entry
            for place, known in self._names.items()
            for entry in _listed(place, listing) or ()
            if entry.name not in known and place / entry.name not in except_for
        ]
        found = [_described(entry, self._folder, counting) for entry in entries]
        found.sort(key=lambda each: (-each.size, each.path))
        return NewFiles(tuple(found), self._complete and listing.complete and counting.complete)

    def _budget(self) -> _Budget:
        return _Budget(self._max_entries, self._max_seconds)


class _Budget:
    """How many more entries may be looked at, and until when."""

    def __init__(self, entries: int, seconds: float) -> None:
        self._entries, self._end = entries, monotonic() + seconds
        self.complete = True  # nothing was left out so far

    @property
    def spent(self) -> bool:
        return self._entries <= 0 or monotonic() > self._end

    def take(self) -> bool:
        """Whether one more entry may be looked at."""
        if self.spent:
            self.complete = False
            return False
        self._entries -= 1
        return True


def _listed(folder: Path, budget: _Budget) -> list[os.DirEntry[str]] | None:
    """What is in a folder; None if that cannot be read, or is too much."""
    entries: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                if len(entries) >= MAX_IN_FOLDER:
                    budget.complete = False
                    return None
                if not budget.take():
                    return None
                entries.append(entry)
    except OSError:
        return None
    if any(entry.name == VIRTUAL_ENVIRONMENT for entry in entries):
        return []
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in SKIPPED]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _described(entry: os.DirEntry[str], folder: Path, budget: _Budget) -> NewFile:
    path = Path(entry.path).relative_to(folder).as_posix()
    if not _is_folder(entry):
        return NewFile(path, _size(entry.path))
    files = size = 0
    for place, _, names in os.walk(entry.path):
        for name in names:
            if not budget.take():
                return NewFile(path, size, files)
            files += 1
            size += _size(os.path.join(place, name))
    return NewFile(path, size, files)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:  # it is gone by now
        return 0
