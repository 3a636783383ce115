"""What a training command leaves in its folder is told, however much else is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lrscout.processes import new_files
from lrscout.processes.new_files import FolderContents, NewFile, NewFiles
from lrscout.runs.new_files import new_files_sentence


def write(path: Path, size: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_new_files_are_found_at_any_depth_and_changed_ones_are_not(tmp_path):
    write(tmp_path / "train.py")
    write(tmp_path / "src" / "model" / "net.py")
    before = FolderContents(tmp_path)
    write(tmp_path / "train.py", 5000)
    write(tmp_path / "out.log", 3000)
    write(tmp_path / "src" / "model" / "best.pt", 9000)
    assert before.new() == NewFiles((NewFile("src/model/best.pt", 9000), NewFile("out.log", 3000)), True)


def test_a_new_folder_is_named_once_with_all_that_is_under_it(tmp_path):
    write(tmp_path / "runs" / "old.txt")
    before = FolderContents(tmp_path)
    for name in ("a.pt", "b.pt", "deep/er/c.pt", ".hydra/config.yaml"):
        write(tmp_path / "runs" / "today" / name, 100)
    (tmp_path / "empty").mkdir()
    assert before.new().found == (NewFile("runs/today", 400, 4), NewFile("empty", 0, 0))


def test_nothing_new_is_nothing_to_tell(tmp_path):
    write(tmp_path / "train.py")
    before = FolderContents(tmp_path)
    (tmp_path / "train.py").unlink()
    assert before.new() == NewFiles((), True)
    assert new_files_sentence(before.new()) is None


@pytest.mark.parametrize("name", ["__pycache__", ".git", ".cache", "node_modules", ".venv", "environment"])
def test_caches_and_environments_are_left_out(tmp_path, name):
    write(tmp_path / name / "pyvenv.cfg" if name == "environment" else tmp_path / name / "old")
    before = FolderContents(tmp_path)
    write(tmp_path / name / "lib" / "new")
    write(tmp_path / name / "new")
    assert before.new() == NewFiles((), True)


def test_a_cache_that_is_new_is_left_out(tmp_path):
    before = FolderContents(tmp_path)
    write(tmp_path / "__pycache__" / "train.pyc")
    write(tmp_path / ".cache" / "data")
    assert before.new() == NewFiles((), True)


def test_links_to_folders_are_not_followed(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "round").symlink_to(tmp_path / "here")
    write(tmp_path / "elsewhere" / "data")
    before = FolderContents(tmp_path / "here")
    (tmp_path / "here" / "latest").symlink_to(tmp_path / "elsewhere")
    assert [(new.path, new.files) for new in before.new().found] == [("latest", None)]


def test_a_folder_that_cannot_be_read_or_is_gone_is_left_out(tmp_path):
    write(tmp_path / "there" / "file")
    before, nowhere = FolderContents(tmp_path), FolderContents(tmp_path / "nowhere")
    (tmp_path / "there" / "file").unlink()
    (tmp_path / "there").rmdir()
    write(tmp_path / "there")  # a file by that name
    write(tmp_path / "new")
    assert before.new() == NewFiles((NewFile("new", 1),), True)
    assert nowhere.new() == NewFiles((), True)


def test_it_does_not_look_everywhere_if_there_is_too_much_and_says_so(tmp_path):
    for number in range(20):
        write(tmp_path / "a" / "b" / f"{number}")
    before = FolderContents(tmp_path, max_entries=10)
    write(tmp_path / "a" / "b" / "not seen")
    write(tmp_path / "a" / "seen")
    assert before.new() == NewFiles((NewFile("a/seen", 1),), False)


def test_a_data_set_does_not_use_up_the_limit_of_all_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(new_files, "MAX_IN_FOLDER", 50)
    for number in range(60):
        write(tmp_path / "data" / f"{number}")
    write(tmp_path / "logs" / "old")
    before = FolderContents(tmp_path, max_entries=100)
    write(tmp_path / "logs" / "new")
    assert before.new() == NewFiles((NewFile("logs/new", 1),), False)


def test_a_new_folder_with_too_much_in_it_hides_no_other_file(tmp_path):
    before = FolderContents(tmp_path, max_entries=10)
    for number in range(20):
        write(tmp_path / "a" / f"{number}")
    write(tmp_path / "b", 100)
    assert before.new() == NewFiles((NewFile("b", 100), NewFile("a", 10, 10)), False)


def test_no_time_left_means_nothing_is_known(tmp_path):
    before = FolderContents(tmp_path, max_seconds=-1)
    write(tmp_path / "new")
    assert before.new() == NewFiles((), False)


def test_a_folder_that_is_given_relative_to_the_current_one_stays_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = FolderContents(".")
    write(tmp_path / "new")
    monkeypatch.chdir(os.sep)
    assert before.new().found == (NewFile("new", 1),)


SENTENCES = [
    (NewFiles((NewFile("out.log", 3072),), True), "out.log (3.00 KiB)."),
    (NewFiles((NewFile("logs", 13 * 2**20, 4), NewFile("a", 1)), True), "logs/ (4 files, 13.0 MiB) and a (1 B)."),
    (NewFiles((NewFile("one", 5, 1), NewFile("none", 0, 0)), True), "one/ (1 file, 5 B) and none/ (empty)."),
    (
        NewFiles(tuple(NewFile(f"{n}.pt", 2048) for n in range(9)), True),
        "0.pt (2.00 KiB), 1.pt (2.00 KiB), 2.pt (2.00 KiB), 3.pt (2.00 KiB) and 5 more.",
    ),
    (
        NewFiles((NewFile("a", 1),), False),
        "a (1 B). There may be more: it has too many files to look at all of them.",
    ),
]


@pytest.mark.parametrize(("new", "said"), SENTENCES)
def test_one_sentence_names_the_largest(new, said):
    assert new_files_sentence(new) == f"The command wrote new files in its folder: {said}"
