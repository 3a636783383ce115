"""Every setting of every command, declared once.

A field is a command-line flag, an environment variable, a recipe key and a keyword argument in Python, all with
the same name, type, default and bounds.
"""

from __future__ import annotations

from lrscout.settings.check import CheckSettings
from lrscout.settings.command import CommandSettings, LaunchSettings
from lrscout.settings.compare_schedulers import CompareSchedulersSettings
from lrscout.settings.engine import ENGINE, EngineSettings, JobsSettings
from lrscout.settings.fields import (
    Field,
    Kind,
    Option,
    Settings,
    bounds_problem,
    check_kind,
    coerce,
    fields_of,
    flag_words,
    make_settings,
    of_kind,
    option,
    positive_name,
    told,
)
from lrscout.settings.find_batch_size import FindBatchSizeSettings
from lrscout.settings.find_lr import FindLrSettings
from lrscout.settings.ranks import RanksSettings
from lrscout.settings.run import DEFAULT_SCHEDULE, RunSettings
from lrscout.settings.session import COMMON, DEFAULT_OPTIMIZER, SessionSettings
from lrscout.settings.tune import TuneSettings

__all__ = [
    "COMMANDS",
    "COMMON",
    "CheckSettings",
    "CommandSettings",
    "CompareSchedulersSettings",
    "DEFAULT_OPTIMIZER",
    "DEFAULT_SCHEDULE",
    "ENGINE",
    "EngineSettings",
    "Field",
    "FindBatchSizeSettings",
    "FindLrSettings",
    "JobsSettings",
    "Kind",
    "LaunchSettings",
    "Option",
    "RanksSettings",
    "RunSettings",
    "SessionSettings",
    "Settings",
    "TuneSettings",
    "bounds_problem",
    "check_kind",
    "coerce",
    "fields_of",
    "flag_words",
    "make_settings",
    "of_kind",
    "option",
    "positive_name",
    "told",
]

COMMANDS: dict[str, type[Settings]] = {
    "check": CheckSettings,
    "find_lr": FindLrSettings,
    "find_batch_size": FindBatchSizeSettings,
    "compare_schedulers": CompareSchedulersSettings,
    "run": RunSettings,
    "tune": TuneSettings,
}
"""A recipe's section names, and the settings each may hold."""
