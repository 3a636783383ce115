"""Files of the user's that a program, which is only searched in, would overwrite or delete.

They are kept in a hidden folder beside, and noted; the supervisor puts them back when everything has ended
(lrscout/processes/put_back.py). Nothing is ever deleted here.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from typing import Any

from .patches import Patches

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl", ".pickle", ".npz", ".npy", ".tar", ".distcp")
KEPT = ".lrscout-kept"  # the folder, where the command was started
MOST_FILES = 10_000  # of a folder that is renamed
LONGEST_NAME = 50  # of a file's name, in characters: with 17 in front, file systems have room for 255 bytes


class Protection:
    """Keeps the files that are older than the search: all under `home`, and checkpoints anywhere on its file system.

    A file that is to be truncated is renamed away; one that is to be removed or replaced gets a second name (a link).
    Python tells an audit hook of every file that it opens, renames or removes (PEP 578). Files that are written without
    Python are known from the functions that do it (`cover`). Notes of what was kept go to the folder `notes`.
    """

    def __init__(self, notes: str, home: str, since: float) -> None:
        self._notes = os.path.join(notes, f"kept.{os.getpid()}")
        self._home, self._since = os.path.realpath(home), since
        self._store = os.path.join(self._home, KEPT)
        self._device = os.stat(self._home).st_dev
        self._patches = Patches()
        self._lock, self._thread = threading.Lock(), threading.local()
        sys.addaudithook(self._on_event)  # for good: there is no way to remove one

    def cover(self, module: Any, name: str, keyword: str) -> None:
        """Look after a function that writes to the file that its second argument names, or this keyword."""

        def wrap(original: Any) -> Any:
            def save(*args: Any, **kwargs: Any) -> Any:
                self._keep(args[1] if len(args) > 1 else kwargs.get(keyword), self._rename_away)
                return original(*args, **kwargs)

            return save

        self._patches.replace(module, name, wrap)

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(args[2], int) and args[2] & os.O_TRUNC:
                self._keep(args[0], self._rename_away)
        elif event == "os.remove":
            self._keep(_within(args[0], args[1]), self._link)
        elif event == "os.rename":
            self._keep(_within(args[0], args[2]), self._link_all)
            self._keep(_within(args[1], args[3]), self._link)

    def _keep(self, path: Any, how: Any) -> None:
        if getattr(self._thread, "is_busy", False) or not isinstance(path, (str, os.PathLike)):
            return
        self._thread.is_busy = True
        try:
            with self._lock:
                how(os.path.abspath(os.fspath(path)))
        except (OSError, TypeError, ValueError):  # it is not ours to keep, or on another file system
            pass
        finally:
            self._thread.is_busy = False

    def _rename_away(self, path: str) -> None:
        path = os.path.realpath(path)
        found = self._old(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return
        kept = self._note(path, found)
        os.rename(path, kept)
        if os.lstat(kept).st_ino != found.st_ino:  # another process has been faster, and this file is new
            os.rename(kept, path)

    def _link(self, path: str) -> None:
        found = self._old(path)
        if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return
        os.link(path, self._note(path, found), follow_symlinks=False)

    def _link_all(self, path: str) -> None:
        """Link a file, or all files of a folder."""
        if not os.path.isdir(path) or os.path.islink(path):
            self._link(path)
            return
        count = 0
        for folder, _, names in os.walk(path):
            for name in names:
                count += 1
                if count > MOST_FILES:
                    return
                self._link(os.path.join(folder, name))

    def _old(self, path: str) -> os.stat_result | None:
        """The status of a file that is to be kept; None of any other."""
        inside = path.startswith(self._home + os.sep)
        below = path[len(self._home) :] if inside else path
        if not inside and not path.endswith(SUFFIXES):
            return None
        if any(part.startswith(".") or part == "__pycache__" for part in below.split(os.sep)[1:-1]):
            return None  # caches, and what was kept already
        try:
            found = os.lstat(path)
        except OSError:
            return None
        is_old = found.st_mtime < self._since and found.st_dev == self._device
        return found if is_old and (found.st_size > 0 or stat.S_ISLNK(found.st_mode)) else None

    def _note(self, path: str, found: os.stat_result) -> str:
        """Note where a file is kept, before it is; a note without a file means nothing."""
        os.makedirs(self._store, exist_ok=True)
        # no pid: those of a container that was killed come again in the next one, which must not write over its files
        name = f"{os.urandom(8).hex()}-{os.path.basename(path)[-LONGEST_NAME:]}"
        kept = os.path.join(self._store, name)
        with open(self._notes, "a", encoding="utf-8") as notes:
            notes.write(json.dumps([path, kept, found.st_ino]) + "\n")
        return kept


def _within(path: Any, folder: Any) -> Any:
    """A path that may be relative to an open folder, by its descriptor."""
    if isinstance(folder, int) and folder != -1 and isinstance(path, str) and not os.path.isabs(path):
        try:
            return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        except OSError:
            return None
    return path
