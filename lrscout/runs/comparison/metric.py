"""What the runs of a comparison are compared by."""

from __future__ import annotations

from lrscout.results import Metric
from lrscout.settings import CompareSchedulersSettings


def metric_of(settings: CompareSchedulersSettings, held_out: bool) -> Metric:
    """What the runs are compared by."""
    name = settings.metric_fn or ("held-out loss" if held_out else "training loss")
    return Metric(name, settings.metric_mode, held_out)
