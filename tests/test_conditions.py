"""What a script may demand of a comparison."""

from __future__ import annotations

import pytest
from test_compare_report import ALSO, BAD, GOOD, record_of

from lrscout.errors import UsageError
from lrscout.schedules import parse_schedules
from lrscout.search.conditions import check_best, check_conditions, parse_condition

FINALS = {"cosine": GOOD, "wsd": ALSO, "constant": BAD}
SPECS = parse_schedules(list(FINALS))


def checked(*texts, finals=FINALS, **options):
    conditions = [parse_condition(text, parse_schedules(list(finals))) for text in texts]
    return check_conditions(conditions, record_of(finals, **options).result)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("constant worse than cosine", True),
        ("cosine better than constant", True),
        ("cosine worse than constant", False),
        ("cosine worse than wsd", False),
        ("cosine not worse than wsd", True),
        ("cosine not better than wsd", True),
        ("cosine not better than constant", False),
    ],
)
def test_a_check_passes_where_its_condition_does_not_hold(condition, holds):
    (check,) = checked(condition)
    assert check.passed is not holds


def test_where_more_is_better_worse_is_less():
    (check,) = checked("cosine worse than constant", finals={"cosine": GOOD, "constant": BAD}, mode="max")
    assert not check.passed


def test_the_more_is_asked_the_surer_each_answer_must_be():
    finals = {"cosine": [0.50, 0.61, 0.70], "constant": [0.60, 0.68, 0.78]}
    assert not checked("constant worse than cosine", finals=finals)[0].passed
    many = checked(*["constant worse than cosine"] * 12, finals=finals)
    assert all(check.passed for check in many)


def test_a_schedule_that_diverged_is_worse_than_one_that_did_not():
    finals = {"cosine": [0.1, None, 0.1], "constant": BAD}
    (check,) = checked("cosine worse than constant", finals=finals)
    assert not check.passed
    assert "1 of cosine, 0 of constant" in check.detail


def test_what_cannot_be_told_fails():
    finals = {"cosine": GOOD, "constant": [0.6]}
    (check,) = checked("cosine worse than constant", finals=finals)
    assert not check.passed
    assert "too few runs in common" in check.detail


def test_the_best_and_what_ties_with_it_are_as_expected():
    result = record_of(FINALS).result
    assert check_best(["wsd"], result, 0.0).passed
    assert check_best(["constant", "cosine"], result, 0.0).passed
    assert not check_best(["constant"], result, 0.0).passed
    assert check_best(["constant"], result, 0.5).passed  # within the minimum effect


def test_the_best_does_not_depend_on_a_named_baseline():
    result = record_of(FINALS, baseline="constant").result
    assert check_best(["wsd"], result, 0.0).passed
    assert not check_best(["constant"], result, 0.0).passed


def test_nothing_is_best_where_no_run_came_to_its_end():
    check = check_best(["cosine"], record_of({"cosine": [None], "constant": [None]}).result, 0.0)
    assert not check.passed
    assert check.detail == "best is none: no run completed"


@pytest.mark.parametrize(
    "text", ["cosine beats wsd", "cosine worse wsd", "cosine worse than", "rex worse than wsd", "wsd worse than wsd"]
)
def test_a_condition_of_another_form_is_refused(text):
    with pytest.raises(UsageError):
        parse_condition(text, SPECS)
