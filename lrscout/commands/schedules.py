"""`lrscout schedules` and `lrscout preview`: which schedules there are, and what they look like; without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lrscout.commands.completion import completer_of
from lrscout.commands.invocation import checked_color
from lrscout.commands.options import ColorFlag
from lrscout.commands.run import past_typer
from lrscout.report.axes import Points
from lrscout.report.output import Output
from lrscout.report.schedules import list_schedules, plot_schedules, schedules_json
from lrscout.report.stdout import results_stream
from lrscout.schedules import DEFAULT_SCHEDULES, ScheduleSpec, parse_schedules

MOST_POINTS = 5_000  # of a curve: more cannot be seen

Width = Annotated[int | None, typer.Option(min=24, max=1000, help="Width of text and plots, in columns.")]


def schedules(
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    color: ColorFlag = "auto",
    width: Width = None,
) -> None:
    """List the learning-rate schedules and their parameters."""
    output = Output(sys.stdout, sys.stderr, width=width, color=checked_color(color))
    output.result(schedules_json() if json else list_schedules(output.results_style))


def preview(
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            "--schedule",
            "-s",
            metavar="NAME[:KEY=VALUE,...][+swa]",
            autocompletion=completer_of("schedule"),
            help="Schedule, for example one-cycle:pct_start=0.2; repeatable. `lrscout schedules` lists them.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Optimizer steps of the run.")] = 1000,
    app_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder to import your own schedules from.")] = Path("."),
    color: ColorFlag = "auto",
    width: Width = None,
) -> None:
    """Plot learning-rate schedules over the steps of a run."""
    specs = parse_schedules(schedule or DEFAULT_SCHEDULES)
    with results_stream() as results:
        output = Output(results, sys.stderr, width=width, color=checked_color(color))
        with past_typer():
            curves = {spec.label: _points(spec, steps, app_dir) for spec in specs}
        output.result(plot_schedules(curves, steps, output.results_style))
        for spec in specs:
            if spec.needs_metric:
                output.note(f"{spec.label} depends on evaluations: without any, its rate stays where it starts.")
            if spec.averaging is not None:
                first = spec.averaging.first_step(steps)
                output.note(f"{spec.label} averages the weights from step {first} on, at the rates of {spec.rates}.")


def _points(spec: ScheduleSpec, total: int, app_dir: Path) -> Points:
    """The multiplier at the steps that a plot can show."""
    shown = range(0, total, max(1, total // MOST_POINTS))
    if spec.is_builtin:
        return [(step, spec(step, total)) for step in shown]
    from lrscout.engine.schedulers import multipliers  # what is not built in has to be run

    ratios = multipliers(spec, total, str(app_dir))
    return [(step, ratios[step]) for step in shown]
