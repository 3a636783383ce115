"""find-lr on a Ray cluster: the seeds and the trainings of --refine have the numbers of this machine."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]


def numbers(path):
    """A record without its times, and without where it was made."""
    record = json.loads(path.read_text())
    settings = {**record["settings"], "engine": None, "ray_address": None}
    return {**record, "settings": settings, "result": {**record["result"], "seconds": None}}


def test_seeds_and_refining_trainings_have_the_numbers_of_this_machine(lrscout, cluster, folder):
    search = ("find-lr", "mymod:build", "--device", "cpu", "--seeds", "3", "--refine", "600")
    code, _, err = lrscout(*search, "-o", "here.json")
    assert code == 0, err
    code, _, err = lrscout(*search, "--engine", "ray", "--ray-address", cluster.address, "-o", "there.json")
    assert code == 0, err
    here = numbers(folder / "here.json")
    assert len(here["result"]["seeds"]) == 3
    assert here["result"]["refinement"]
    assert numbers(folder / "there.json") == here


def test_seeds_of_a_training_command_have_the_numbers_of_this_machine(lrscout, cluster, folder):
    search, program = ("find-lr", "--seeds", "2", "--steps", "60"), ("--", "python", "train.py", "{seed}")
    code, _, err = lrscout(*search, "-o", "here.json", *program)
    assert code in (0, 4), err
    elsewhere = ("--engine", "ray", "--ray-address", cluster.address)
    assert lrscout(*search, *elsewhere, "-o", "there.json", *program)[0] == code
    assert numbers(folder / "there.json") == numbers(folder / "here.json")
