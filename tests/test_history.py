"""The cache folder: names of records, and the one that is meant."""

import os
import re
from pathlib import Path

import pytest
from test_records import RECORD

from lrscout import history
from lrscout.errors import RecordError
from lrscout.files import check_writable, write_text
from lrscout.history import (
    cache_folder,
    cached_records,
    find_record,
    last_record,
    name_of,
    new_record_path,
    remember,
)
from lrscout.records import save
from lrscout.results import RESULTS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder, away from the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lrscout"


def test_the_cache_folder_follows_xdg_cache_home():
    assert cache_folder({"XDG_CACHE_HOME": "/var/cache"}) == Path("/var/cache/lrscout")


@pytest.mark.parametrize("environ", [{}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}])
def test_the_cache_folder_is_in_the_home_otherwise(environ, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_folder(environ) == Path("/home/ada/.cache/lrscout")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(RecordError, match="Could not determine home") as caught:
        cache_folder({})
    assert caught.value.hint == "Set XDG_CACHE_HOME."


def test_a_new_record_is_named_by_command_and_target(cache):
    path = new_record_path("find-lr", "my/train.py:build")
    assert path.parent == cache
    assert re.fullmatch(r"\d{8}T\d{6}-find-lr-my-train-py-build-[0-9a-f]{8}\.json", path.name)
    check_writable(path)


def test_a_new_record_without_a_target_has_a_name_too():
    assert re.fullmatch(r"\d{8}T\d{6}-find-lr-[0-9a-f]{8}\.json", new_record_path("find-lr", None).name)


def test_two_records_of_one_second_and_one_pid_have_two_names(monkeypatch):
    """As in two containers, each with a process 7, that share the folder."""
    monkeypatch.setattr(history.time, "strftime", lambda form: "20260101T000000")
    assert len({new_record_path("find-lr", "train.py:build") for _ in range(20)}) == 20


def test_a_cache_folder_that_cannot_be_created_is_an_error(cache):
    cache.parent.write_text("a file in its place")
    with pytest.raises(RecordError, match="Cannot write records to"):
        new_record_path("find-lr", None)
    with pytest.raises(RecordError, match="Cannot write to"):
        remember(cache / "r.json")


OTHERS = (
    "notes.json",
    "2019.json",
    "20190101T000000.json",
    "20190101T000000-sweep-a-1.json",
    "20190101-find-lr-a-1.json",
)
"""Files of other people, that sort before the records."""


def test_the_oldest_records_are_deleted_and_nobody_elses_files(cache, monkeypatch):
    monkeypatch.setattr(history, "KEPT_RECORDS", 3)
    cache.mkdir(parents=True)
    names = [
        f"{year}0101T000000-{name}.json" for year, name in zip(range(2020, 2024), ("run-9", *["find-lr-a-b-7f"] * 3))
    ]
    for name in (*names, *OTHERS, "last"):
        (cache / name).touch()
    new = new_record_path("find-lr", None)
    write_text(new, "{}")
    assert {path.name for path in cache.iterdir()} == {*names[2:], *OTHERS, "last", new.name}


def test_a_record_that_this_version_names_is_one_that_it_finds(cache):
    made = {new_record_path(command, target) for command in RESULTS for target in (None, "a/b.py:build", "größe", "-")}
    for path in made:
        path.touch()
    assert {path for command in RESULTS for path in cached_records(command)} == made
    assert {name_of(path).command for path in made} == set(RESULTS)


def test_the_last_record_may_be_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(RECORD, new_record_path("find-lr", None))
    save(RECORD, Path("elsewhere.json"))
    remember(Path("elsewhere.json"))
    assert last_record()[0] == tmp_path / "elsewhere.json"


@pytest.mark.parametrize("name", ["two words .json", os.fsdecode(b"\xff.json")])
def test_a_record_with_an_odd_name_is_remembered(tmp_path, name):
    save(RECORD, tmp_path / name)
    remember(tmp_path / name)
    assert last_record()[0] == tmp_path / name


@pytest.mark.parametrize("pointer", [None, "", "/nowhere/gone.json\n", "\0", "x" * 5000])
def test_a_stale_pointer_falls_back_to_the_newest_record(cache, pointer):
    cache.mkdir(parents=True)
    for name in ("20240101T000000-find-lr-1", "20250101T000000-run-a-1", "20230101T000000-find-lr-1", "zoo"):
        (cache / f"{name}.json").touch()
    if pointer is not None:
        (cache / "last").write_text(pointer)
    assert last_record()[0] == cache / "20250101T000000-run-a-1.json"


def test_a_commands_own_records_are_found_the_newest_first(cache):
    cache.mkdir(parents=True)
    for name in ("20240101T000000-find-lr-a-1", "20250101T000000-find-lr-a-1", "20260101T000000-find-batch-size-a-1"):
        (cache / f"{name}.json").touch()
    (cache / "20270101T000000-run-my-find-lr-py-1.json").touch()  # a run of my/find_lr.py
    found = [path.name[:4] for path in cached_records("find-lr")]
    assert found == ["2025", "2024"]


def test_without_any_record_the_hint_says_what_to_run():
    with pytest.raises(RecordError, match="No records in") as caught:
        last_record()
    assert "lrscout find-lr" in caught.value.hint


def test_every_folder_has_a_last_record_of_its_own(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        monkeypatch.chdir(tmp_path / name)
        save(RECORD, Path("r.json"))
        remember(Path("r.json"))
    for name in ("a", "b"):
        monkeypatch.chdir(tmp_path / name)
        assert last_record() == (tmp_path / name / "r.json", True)
    monkeypatch.chdir(tmp_path / "c")
    assert last_record() == (tmp_path / "b" / "r.json", False)


def test_a_folder_is_the_same_behind_a_link(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    save(RECORD, tmp_path / "r.json")
    remember(tmp_path / "r.json", tmp_path / "link")
    monkeypatch.chdir(tmp_path / "a")
    assert last_record() == (tmp_path / "r.json", True)


def test_the_folders_that_were_used_long_ago_are_forgotten(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEPT_RECORDS", 3)
    for number in range(5):
        remember(tmp_path / "r.json", tmp_path / str(number))
        pointer = max(cache.glob("last-*"), key=lambda path: path.stat().st_mtime)
        os.utime(pointer, (number, number))
    assert len(list(cache.glob("last-*"))) == 3


def made(cache: Path, *ids: str) -> list[Path]:
    cache.mkdir(parents=True, exist_ok=True)
    paths = [cache / f"20260301T1405{number:02}-find-lr-a-{id}.json" for number, id in enumerate(ids)]
    for path in paths:
        path.touch()
    return paths


def test_the_name_of_a_record_says_when_it_was_made_and_its_id(cache):
    (path,) = made(cache, "7f3a91c2")
    found = name_of(path)
    assert (found.when, found.command, found.id) == ("2026-03-01 14:05:00", "find-lr", "7f3a91c2")


@pytest.mark.parametrize("name", ["7f3a91c2", "7f3a", "7f3a9"])
def test_a_record_is_found_by_the_beginning_of_its_id(cache, name):
    path, _ = made(cache, "7f3a91c2", "00007f3a")
    assert find_record(name) == path


@pytest.mark.parametrize("name", ["7f3", "7f3b", "run.json", "x/7f3a", "7F3A", ""])
def test_what_is_no_id_is_a_path(cache, name):
    made(cache, "7f3a91c2")
    assert find_record(name) == Path(name)


def test_a_file_with_the_name_of_an_id_is_that_file(cache, tmp_path, monkeypatch):
    made(cache, "7f3a91c2")
    monkeypatch.chdir(tmp_path)
    Path("7f3a").touch()
    assert find_record("7f3a") == Path("7f3a")


def test_an_id_that_several_records_have_is_an_error_that_lists_them(cache):
    made(cache, "7f3a91c2", "7f3a0000")
    with pytest.raises(RecordError, match="2 records have ids that begin with 7f3a") as caught:
        find_record("7f3a")
    assert "7f3a0000, 7f3a91c2" in caught.value.hint
