"""What the runs of a comparison are compared by."""

from __future__ import annotations

import re

from lrscout.results import Metric
from lrscout.settings import CompareSchedulersSettings


def metric_of(settings: CompareSchedulersSettings, held_out: bool) -> Metric:
    """What the runs are compared by."""
    if settings.metric_regex is not None:
        return Metric(f"printed {words_before_group(settings.metric_regex)}", settings.metric_mode, False)
    name = settings.metric_fn or ("held-out loss" if held_out else "training loss")
    return Metric(name, settings.metric_mode, held_out)


def words_before_group(pattern: str) -> str:
    """The words of a regular expression right before its group, which name what the group matches."""
    before = pattern.partition("(")[0]
    literal = re.sub(r"\\[A-Za-z]|\[[^]]*\]|[\\?*+.^$|]", "\0", before)  # what stands for itself
    words = re.findall(r"[^\W\d_][\w /@-]*", literal)
    return words[-1].strip(" -_") if words else "metric"
