"""What the report says about the loader."""

from __future__ import annotations

from lrscout.report.loading import loading_lines, loading_table
from lrscout.results import LoaderTiming, Loading, MemoryBudget, Trial
from lrscout.search.batch_size import Search, SearchEnd
from lrscout.search.recommendation import conclude

OWN = LoaderTiming(0, 0.021, 0.81)


def told(**loading):
    """The lines about a loader, as one text."""
    trial = Trial(32, "fits", 1000, 90.0, 0.1, 6, loader_share=0.81)
    result = conclude(SearchEnd((trial,), "max", 1.0), Search(), "power", MemoryBudget(None, 0.05))
    given = Loading(**{"own": OWN, "seconds_without": 0.004, "fed": False, **loading})
    result = type(result)(**{**{n: getattr(result, n) for n in result.__dataclass_fields__}, "loading": given})
    return ". ".join(loading_lines(result)), loading_table(result)


def timings(*milliseconds):
    return tuple(LoaderTiming(n, ms / 1000, 0.5) for n, ms in zip((0, 1, 2, 4), milliseconds))


def test_a_loader_that_limits_is_told_with_both_times_and_what_to_try():
    text, tables = told()
    assert text == (
        "a step takes 21.0 ms, of which 4.00 ms are left when batches need not be loaded: the loader limits this"
        " training, not the batch size. --workers auto finds the num_workers that feeds the step"
    )
    assert tables == []


def test_a_loader_that_takes_less_than_half_of_a_step_is_not_made_more_of_than_it_is():
    text, _ = told(own=LoaderTiming(0, 0.021, 0.4), seconds_without=0.015)
    assert "the loader slows this training down" in text


def test_a_loader_that_keeps_up_is_told():
    text, _ = told(own=LoaderTiming(0, 0.0041, 0.01), fed=True, timings=timings(4.1, 4.0), workers=0)
    assert text == (
        "a step takes 4.10 ms, and 4.00 ms when batches need not be loaded: the loader keeps up."
        " num_workers=0, which the loader has, is enough"
    )


def test_the_number_that_feeds_the_step_is_named_with_its_time_and_the_next_step():
    text, ((head, rows),) = told(timings=timings(21.0, 17.0, 9.0, 4.2), workers=4, fed=True)
    assert "num_workers=4 feeds the step, at 4.20 ms: set it and search again" in text
    assert head == ("workers", "ms per step", "spent waiting")
    assert rows == [
        ("0 (current)", "21.0", "50%"),
        ("1", "17.0", "50%"),
        ("2", "9.00", "50%"),
        ("4 (suggested)", "4.20", "50%"),
        ("no loading", "4.00", ""),
    ]


def test_where_no_number_feeds_the_step_it_is_said_what_would():
    text, _ = told(timings=timings(21.0, 17.0, 9.0), workers=2)
    assert "none of 0, 1 and 2 workers feeds the step; num_workers=2 is as good as any, at 9.00 ms: set it" in text
    assert "make loading cheaper" in text
    text, _ = told(timings=timings(21.0, 22.0), workers=0)
    assert "none of 0 and 1 workers feeds the step; num_workers=0, which the loader has, is as good as any" in text


def test_what_could_not_be_timed_is_told_with_its_reason():
    assert told(problem="It hangs.")[0].endswith("no other num_workers was timed. It hangs.")
    text, _ = told(timings=timings(21.0, 17.0), workers=1, problem="It hangs.")
    assert text.endswith("no num_workers above 1 was timed. It hangs.")
    text, _ = told(timings=timings(21.0, 17.0), problem="The timing was interrupted.", interrupted=True)
    assert text.endswith("not the batch size. The timing was interrupted.")
    text, _ = told(own=None, seconds_without=None, fed=None, problem="It hangs.")
    assert text == ("81% of a step is spent waiting for the loader, but it could not be timed without. It hangs.")
