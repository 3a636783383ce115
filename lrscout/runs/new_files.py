"""A sentence about the files that a training command has left behind."""

from __future__ import annotations

from lrscout.formatting import format_bytes
from lrscout.processes.new_files import NewFile, NewFiles

NAMED = 4  # the largest; the others are counted


def new_files_sentence(new: NewFiles) -> str | None:
    """What the command wrote, so that the user can delete it; None if nothing was found."""
    if not new.found:
        return None
    parts = [_named(each) for each in new.found[:NAMED]]
    if len(new.found) > NAMED:
        parts.append(f"{len(new.found) - NAMED} more")
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    sentence = f"The command wrote new files in its folder: {listed}."
    return sentence if new.complete else f"{sentence} There may be more: it has too many files to look at all of them."


def _named(new: NewFile) -> str:
    if new.files is None:
        return f"{new.path} ({format_bytes(new.size)})"
    if new.files == 0:
        return f"{new.path}/ (empty)"
    return f"{new.path}/ ({new.files} {'file' if new.files == 1 else 'files'}, {format_bytes(new.size)})"
