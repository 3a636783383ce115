"""Every setting of every command, declared once.

A field is a command-line flag, an environment variable, a recipe key and a keyword argument in Python, all with
the same name, type, default and bounds.
"""

from __future__ import annotations

from lrscout.settings.command import CommandSettings
from lrscout.settings.compare_schedulers import CompareSchedulersSettings
from lrscout.settings.fields import (
    Field,
    Kind,
    Option,
    Settings,
    bounds_problem,
    check_kind,
    coerce,
    fields_of,
    make_settings,
    option,
    positive_name,
)
from lrscout.settings.find_batch_size import FindBatchSizeSettings
from lrscout.settings.find_lr import FindLrSettings
from lrscout.settings.session import DEFAULT_OPTIMIZER, SessionSettings

__all__ = [
    "COMMANDS",
    "CommandSettings",
    "CompareSchedulersSettings",
    "DEFAULT_OPTIMIZER",
    "Field",
    "FindBatchSizeSettings",
    "FindLrSettings",
    "Kind",
    "Option",
    "SessionSettings",
    "Settings",
    "bounds_problem",
    "check_kind",
    "coerce",
    "fields_of",
    "make_settings",
    "option",
    "positive_name",
]

COMMANDS: dict[str, type[Settings]] = {
    "find_lr": FindLrSettings,
    "find_batch_size": FindBatchSizeSettings,
    "compare_schedulers": CompareSchedulersSettings,
}
"""A recipe's section names, and the settings each may hold."""
