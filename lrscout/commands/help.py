"""How --help looks: as wide as the window, the options in groups, with examples; typer's plain text, without rich."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

WIDEST = 110  # columns: longer lines are hard to read
SHARED = ("Step", "Output", "CI")  # groups that several commands have, after those of their own
COLUMN = 30  # columns at most for the names of options


class HelpfulCommand(TyperCommand):
    """Shows its options in groups, and what it is like to use."""

    examples: tuple[str, ...] = ()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            shown = parameter.get_help_record(ctx)
            if shown is not None:
                group = getattr(parameter, "rich_help_panel", None) or "Output"  # --help itself
                groups.setdefault(group, []).append((shown[0].removesuffix(" <str>"), shown[1]))
        names = [len(name) for rows in groups.values() for name, _ in rows]
        width = max((each for each in names if each <= COLUMN), default=0)
        for group in sorted(groups, key=_place):
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), told) for name, told in groups[group]], col_max=width)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"{'':>{formatter.current_indent}}{example}\n" for example in self.examples))
        super().format_epilog(ctx, formatter)


class HelpfulGroup(TyperGroup):
    """Lists its commands with their whole summaries."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help or "") for name, command in known if command is not None])


def _place(group: str) -> int:
    """Where a group stands: the target first, and what a command has for itself before what several have."""
    return 1 + SHARED.index(group) if group in SHARED else -(group == "Target")
