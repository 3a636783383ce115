"""The keyword arguments of the Python API as an editor sees them."""

from __future__ import annotations

import inspect
from typing import get_args, get_type_hints

import pytest

import lrscout
from lrscout.settings import (
    CheckSettings,
    CompareSchedulersSettings,
    FindBatchSizeSettings,
    FindLrSettings,
    RunSettings,
    fields_of,
)

FUNCTIONS = [
    (lrscout.check, CheckSettings),
    (lrscout.find_lr, FindLrSettings),
    (lrscout.find_batch_size, FindBatchSizeSettings),
    (lrscout.compare_schedulers, CompareSchedulersSettings),
    (lrscout.run, RunSettings),
]


def kinds(hint):
    return set(get_args(hint) or (hint,))


@pytest.mark.parametrize(("function", "settings"), FUNCTIONS)
def test_every_setting_is_a_keyword_of_its_type(function, settings):
    (keywords,) = get_args(get_type_hints(function)["settings"])
    declared, known = get_type_hints(settings), get_type_hints(keywords)
    fields = {field.name: field for field in fields_of(settings)}
    assert set(known) == set(fields) - set(inspect.signature(function).parameters)
    for name, hint in known.items():
        numbers = {int, float} if fields[name].option.number_too else set()
        assert kinds(declared[name]) <= kinds(hint) <= kinds(declared[name]) | numbers, name
        assert not numbers or numbers & kinds(hint), name
