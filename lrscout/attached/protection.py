"""Checkpoints of earlier trainings, which a program that is only searched in would overwrite or delete.

They are moved aside before that, and noted; the parent puts them back when the program has ended.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any

from .patches import Patches

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl", ".pickle", ".npz", ".npy", ".h5", ".tar", ".distcp")
ASIDE = ".before-lrscout"


class Protection:
    """Moves files and folders of checkpoints aside that are older than the search, and notes it in `folder`.

    Python tells an audit hook of every file that it opens, renames or removes (PEP 578). Files that are written without
    Python are known from the functions that do it (`cover`).
    """

    def __init__(self, folder: str, since: float) -> None:
        self._notes = os.path.join(folder, f"aside.{os.getpid()}")
        self._since = since
        self._patches = Patches()
        self._busy = False
        sys.addaudithook(self._on_event)  # for good: there is no way to remove one

    def cover(self, module: Any, name: str) -> None:
        """Look after a function that writes its first argument to the file that its second one names."""

        def wrap(original: Any) -> Any:
            def save(things: Any, file: Any, *args: Any, **kwargs: Any) -> Any:
                self._move_aside(file)
                return original(things, file, *args, **kwargs)

            return save

        self._patches.replace(module, name, wrap)

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(args[2], int) and args[2] & os.O_TRUNC:
                self._move_aside(args[0])
        elif event == "os.rename":
            self._move_aside(args[1])
            self._note_move(args[0], args[1])
        elif event == "os.remove":
            self._move_aside(args[0], in_its_place=_empty_file)
        elif event == "shutil.rmtree":
            self._move_aside(args[0], in_its_place=os.mkdir)

    def _move_aside(self, path: Any, in_its_place: Any = None) -> None:
        """Move a checkpoint aside; one that is about to be removed leaves something behind for that."""
        if self._busy:
            return
        self._busy = True
        try:
            path = _absolute(path)
            if path is None or not self._is_old_checkpoint(path):
                return
            aside = path + ASIDE
            while os.path.lexists(aside):  # of a search that was killed
                aside += "-2"
            self._note(path, aside)
            os.rename(path, aside)
            if in_its_place is not None:
                in_its_place(path)
        except OSError:  # it is not ours to move, or the parent is on another machine
            pass
        finally:
            self._busy = False

    def _note_move(self, path: Any, to: Any) -> None:
        """Note that the program itself moves a checkpoint, as those who keep the last two do."""
        if self._busy:
            return
        self._busy = True
        try:
            path, to = _absolute(path), _absolute(to)
            if path is not None and to is not None and self._is_old_checkpoint(path):
                self._note(path, to)
        except OSError:
            pass
        finally:
            self._busy = False

    def _note(self, path: str, aside: str) -> None:
        with open(self._notes, "a", encoding="utf-8") as notes:
            notes.write(json.dumps([path, aside]) + "\n")

    def _is_old_checkpoint(self, path: str) -> bool:
        try:
            found = os.lstat(path)
        except OSError:
            return False
        if found.st_mtime >= self._since:
            return False
        if stat.S_ISDIR(found.st_mode):
            return any(name.endswith(SUFFIXES) for _, _, names in os.walk(path) for name in names)
        return stat.S_ISREG(found.st_mode) and found.st_size > 0 and path.endswith(SUFFIXES)


def _absolute(path: Any) -> str | None:
    if not isinstance(path, (str, os.PathLike)):
        return None
    path = os.fspath(path)
    return os.path.abspath(path) if isinstance(path, str) else None


def _empty_file(path: str) -> None:
    open(path, "wb").close()
