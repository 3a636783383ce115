"""`lrscout init`: write a target and its settings to begin with."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from lrscout.errors import UsageError
from lrscout.files import write_text
from lrscout.report.output import Output

FILES = {"tuning.py": "tuning.py", "lrscout.yaml": "lrscout.yaml"}  # where each template goes
WORKFLOW = {"workflow.yml": ".github/workflows/lrscout.yml"}


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; it is made if need be.")] = Path(),
    github_workflow: Annotated[
        bool, typer.Option("--github-workflow", help="Also write a workflow that compares schedules on GitHub.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write a commented target, tuning.py, and its settings, lrscout.yaml; both run as they are."""
    output = Output(sys.stdout, sys.stderr)
    places = {name: folder / place for name, place in {**FILES, **(WORKFLOW if github_workflow else {})}.items()}
    present = [str(place) for place in places.values() if place.exists()]
    if present and not force:
        raise UsageError(
            f"{' and '.join(present)} {'is' if len(present) == 1 else 'are'} there already; nothing was written.",
            hint="Name another folder, or replace what is there with --force.",
        )
    for name, place in places.items():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"Cannot make the folder {place.parent}: {error.strerror or error}.") from None
        write_text(place, (files("lrscout") / "templates" / name).read_text(encoding="utf-8"))
        output.result(f"Wrote {place}")
    there = "" if folder.resolve() == Path().resolve() else f"cd {folder}\n"
    output.note(f"Next:\n{there}lrscout check\nlrscout tune")
