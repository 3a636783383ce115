"""Learning-rate schedules as pure functions, and parsing of the names that users give them; without torch."""

from __future__ import annotations

from lrscout.schedules.averaging import SUFFIX, Averaging, check_without_averaging
from lrscout.schedules.curves import SCHEDULES
from lrscout.schedules.parameters import Parameter, parameters_of, steps_of
from lrscout.schedules.spec import (
    DEFAULT_SCHEDULES,
    TORCH,
    ScheduleSpec,
    describe_schedule,
    parse_schedule,
    parse_schedules,
    schedule_among,
    schedule_parameters,
    warmed_up,
)
from lrscout.schedules.text import written

__all__ = [
    "DEFAULT_SCHEDULES",
    "SCHEDULES",
    "SUFFIX",
    "TORCH",
    "Averaging",
    "Parameter",
    "ScheduleSpec",
    "check_without_averaging",
    "describe_schedule",
    "parameters_of",
    "parse_schedule",
    "parse_schedules",
    "schedule_among",
    "schedule_parameters",
    "steps_of",
    "warmed_up",
    "written",
]
