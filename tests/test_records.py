"""Records: JSON round trips and atomic files."""

import dataclasses
import json
import math
import os
import stat
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.errors import RecordError
from lrscout.files import append_text, check_writable, write_text
from lrscout.records import from_json, load, save, to_json
from lrscout.results import LrResult, RunRecord, SeedSweep, Suggestion, SweepPoint

POINTS = (SweepPoint(0, 1e-3, 2.0, 2.0), SweepPoint(1, 1e-2, math.nan, 2.0))
RESULT = LrResult(
    Suggestion(1e-3, "scout", "lowest there", 1e-4, 1e-2, (1e-3, 1e-4)),
    {"scout": 1e-3, "valley": None},
    POINTS,
    "non_finite",
    2,
    0.5,
)
RECORD = RunRecord(
    command="find-lr",
    status="ok",
    target={"path": "train.py:build", "kwargs": {"width": 64}, "app_dir": None},
    settings={"steps": 2, "optimizer_arg": {}},
    environment={"torch": "2.13"},
    result=RESULT,
    warnings=("Odd.",),
)


# JSON

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
RATES = st.none() | st.floats(1e-12, 1e3)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text(), PLAIN, max_size=4)
SUGGESTIONS = st.builds(
    Suggestion,
    RATES,
    st.sampled_from(["scout", "valley"]),
    st.text(),
    RATES,
    RATES,
    st.lists(NUMBERS).map(tuple),
    st.sampled_from([None, "decay", "constant"]),
    st.sampled_from([None, "high", "low"]),
    st.lists(st.text(), max_size=2).map(tuple),
)
POINT_TUPLES = st.lists(st.builds(SweepPoint, st.integers(0, 999), NUMBERS, NUMBERS, NUMBERS), max_size=5).map(tuple)
USES = st.dictionaries(st.sampled_from(["decay", "constant"]), RATES)
RESULTS = st.builds(
    LrResult,
    SUGGESTIONS,
    st.dictionaries(st.text(), RATES, max_size=5),
    POINT_TUPLES,
    st.sampled_from(["completed", "diverged", "non_finite", "interrupted"]),
    st.integers(0, 999),
    NUMBERS,
    USES,
    POINT_TUPLES,
    st.lists(st.builds(SeedSweep, st.integers(0, 9), USES, POINT_TUPLES), max_size=2).map(tuple),
)
RECORDS = st.builds(
    RunRecord,
    command=st.just("find-lr"),
    status=st.sampled_from(["ok", "inconclusive", "failed", "interrupted"]),
    target=MAPPINGS,
    settings=MAPPINGS,
    environment=MAPPINGS,
    result=st.none() | RESULTS,
    warnings=st.lists(st.text(), max_size=3).map(tuple),
    error=st.none() | st.text(),
)


@given(RECORDS)
def test_records_round_trip(record):
    assert from_json(to_json(record)) == record


def test_the_document_has_the_documented_keys():
    document = json.loads(to_json(RECORD))
    assert list(document) == [
        "schema", "command", "status", "target", "settings", "environment", "result", "warnings", "error",
    ]  # fmt: skip
    result = document["result"]
    assert document["schema"] == 1
    assert set(result) == {
        "suggestion", "suggestions", "uses", "by_length", "points", "coarse", "seeds", "probing", "refinement",
        "stop_reason", "steps", "seconds", "length_from", "others",
    }  # fmt: skip
    assert set(result["suggestion"]) == {
        "lr", "rule", "reason", "low", "high", "groups", "use", "confidence", "doubts",
    }  # fmt: skip
    assert result["suggestions"] == {"scout": 1e-3, "valley": None}
    assert result["points"][0] == {"step": 0, "lr": 1e-3, "loss": 2.0, "smoothed_loss": 2.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_and_reads_back_as_nan(bad):
    result = dataclasses.replace(RESULT, points=(SweepPoint(0, 1e-3, bad, bad),))
    text = to_json(dataclasses.replace(RECORD, result=result, settings={"odd": [bad]}))
    assert json.loads(text, parse_constant=pytest.fail)["settings"] == {"odd": [None]}
    point = from_json(text).result.points[0]
    assert math.isnan(point.loss)
    assert math.isnan(point.smoothed_loss)


def test_values_that_json_cannot_represent_become_text():
    record = dataclasses.replace(RECORD, target={"kwargs": {"path": Path("a/b"), 3: {1}, "pair": (1, 2)}})
    assert from_json(to_json(record)).target == {"kwargs": {"path": "a/b", "3": "{1}", "pair": [1, 2]}}


def test_non_ascii_text_is_readable():
    assert "größe" in to_json(dataclasses.replace(RECORD, error="größe"))


def test_a_path_of_invalid_unicode_round_trips_through_a_file(tmp_path):
    record = dataclasses.replace(RECORD, target={"path": os.fsdecode(b"\xff.py:build")})
    save(record, tmp_path / "record.json")
    assert load(tmp_path / "record.json").target == record.target


def test_keys_of_newer_versions_are_ignored():
    document = json.loads(to_json(RECORD))
    document["environment"]["lrscout"] = "999.0"
    document["new"] = document["result"]["new"] = document["result"]["suggestion"]["new"] = 1
    document["result"]["points"][0]["new"] = 1
    assert from_json(json.dumps(document)).result.suggestion == RESULT.suggestion


def test_a_key_that_this_version_cannot_have_written_is_an_error():
    document = json.loads(to_json(RECORD))
    document["result"]["suggestion"]["reasons"] = "no"
    with pytest.raises(RecordError, match=r"result\.suggestion\.reasons is unknown \(Did you mean 'reason'\?\)"):
        from_json(json.dumps(document))


def test_keys_with_a_default_may_be_missing():
    document = json.loads(to_json(RECORD))
    del document["error"]
    assert from_json(json.dumps(document)).error is None


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", "null", '"schema"', '{"schema": 1}', "[" * 100_000, '{"schema": 1, "result": 3}'],
)
def test_a_file_that_is_not_a_record_is_rejected_by_name(text):
    with pytest.raises(RecordError, match=r"^some\.json is not an lrscout record"):
        from_json(text, "some.json")


def test_a_record_with_another_schema_is_rejected_with_a_hint():
    document = json.loads(to_json(RECORD)) | {"schema": 2}
    with pytest.raises(RecordError, match=r"has schema 2, .* reads schema 1") as caught:
        from_json(json.dumps(document))
    assert caught.value.hint is not None


# Files


def test_a_saved_record_can_be_loaded(tmp_path):
    save(RECORD, tmp_path / "r.json")
    assert load(tmp_path / "r.json").settings == RECORD.settings
    assert (tmp_path / "r.json").read_text().endswith("}\n")


def fail(*arguments):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("where", "what"), [(Path, "replace"), (os, "fsync")])
def test_a_failing_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, where, what):
    path = tmp_path / "r.json"
    path.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(where, what, fail)
        with pytest.raises(RecordError, match="No space left on device"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_a_file_is_on_the_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    """A power cut cannot be tried here: after one, a file that was renamed and never synced is empty."""
    path, done, replace, sync = tmp_path / "r.json", [], Path.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: done.append(stat.S_IFMT(os.fstat(number).st_mode)) or sync(number))
    monkeypatch.setattr(Path, "replace", lambda self, place: done.append("replaced") or replace(self, place))
    write_text(path, "text")
    assert done == [stat.S_IFREG, "replaced", stat.S_IFDIR]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_keeps_its_mode_when_it_is_written_again(tmp_path, mode):
    path = tmp_path / "r.json"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (mode, "new")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_new_file_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "r.json", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner_when_root_writes_it_again(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    write_text(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_no_link_that_waits_in_the_folder_is_followed(tmp_path, monkeypatch):
    """Not even one with the right name, were it known."""
    (tmp_path / "secret").write_text("untouched")
    path = tmp_path / "r.json"
    for name in (f".{path.name}.{os.getpid()}", ".lrscout-guessed"):
        (tmp_path / name).symlink_to(tmp_path / "secret")
    write_text(path, "text")
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    with pytest.raises(RecordError, match="File exists"):
        write_text(path, "more")
    assert (tmp_path / "secret").read_text() == "untouched"
    assert path.read_text() == "text"


def test_two_writers_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    used, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, place: used.append(self.name) or replace(self, place))
    for _ in range(20):
        write_text(tmp_path / "r.json", "text")
    assert len(set(used)) == 20


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    def interrupt(self, target):
        raise KeyboardInterrupt

    path = tmp_path / "r.json"
    path.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_readers_see_the_old_or_the_new_document_and_never_half_of_one(tmp_path):
    path, texts = tmp_path / "r.json", ["a" * 100_000, "b" * 100_000]
    write_text(path, texts[0])
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            try:
                seen.append(path.read_text())
            except OSError as error:
                seen.append(repr(error))

    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.monotonic() + 60
    for i in count():
        write_text(path, texts[i % 2])
        if (i >= 50 and set(seen) >= set(texts)) or time.monotonic() > deadline:
            break
    done.set()
    reader.join()
    assert {text[:20] for text in seen} == {text[:20] for text in texts}
    assert {len(text) for text in seen} == {100_000}


@pytest.mark.parametrize("exists", [True, False])
def test_writing_to_a_link_writes_its_file_and_keeps_the_link(tmp_path, exists):
    file, link = tmp_path / "file.json", tmp_path / "link.json"
    if exists:
        file.write_text("old")
    link.symlink_to(file)
    check_writable(link)
    write_text(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_circular_links_are_replaced(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    check_writable(tmp_path / "a")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    # a pipe of our own stands for /dev/null, which a mistake would replace for the whole machine
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_writable(path)
        write_text(path, "text")
        assert stat.S_ISFIFO(path.stat().st_mode)
        assert os.read(reading, 10) == b"text"
    finally:
        os.close(reading)


def test_dev_null_can_be_written():
    check_writable(Path("/dev/null"))


def test_a_pipe_behind_a_link_is_written_to():
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as reader:
        path = Path(f"/dev/fd/{writing}")  # as in --output >(command)
        check_writable(path)
        write_text(path, "text")
        os.close(writing)
        assert reader.read() == "text"


def test_writing_to_a_folder_fails_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordError, match="Cannot write"):
        write_text(tmp_path / "folder", "text")
    assert os.listdir(tmp_path) == ["folder"]


def test_writing_into_a_missing_folder_fails(tmp_path):
    with pytest.raises(RecordError, match="No such file or directory"):
        write_text(tmp_path / "missing" / "r.json", "text")


def test_text_is_added_to_what_others_have_written(tmp_path):
    (tmp_path / "summary.md").write_text("before\n")
    append_text(tmp_path / "summary.md", "größe\n")
    append_text(tmp_path / "summary.md", "after\n")
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == "before\ngröße\nafter\n"
    with pytest.raises(RecordError, match="No such file or directory"):
        append_text(tmp_path / "missing" / "summary.md", "text")


# Whether it can be written, before the run


def test_a_new_file_in_a_folder_can_be_written(tmp_path):
    check_writable(tmp_path / "new.json")
    assert os.listdir(tmp_path) == []


def test_a_relative_name_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable(Path("new.json"))


def test_a_folder_cannot_be_written(tmp_path):
    with pytest.raises(RecordError, match="it is a folder"):
        check_writable(tmp_path)


def test_a_file_in_a_missing_folder_cannot_be_written(tmp_path):
    with pytest.raises(RecordError, match="does not exist"):
        check_writable(tmp_path / "missing" / "r.json")


@pytest.mark.parametrize("name", ["x" * 256, "x" * 300, "x" * 300 + "/r.json"])
def test_a_file_whose_name_is_too_long_cannot_be_written(tmp_path, name):
    with pytest.raises(RecordError, match=f"Cannot write .*{name}"):
        check_writable(tmp_path / name)


@pytest.mark.parametrize("closed", ["folder", "folder/r.json"])
def test_a_file_needs_permission_for_itself_and_its_folder(tmp_path, monkeypatch, closed):
    # the folder counts even where the file may be written: a new file takes the old one's place
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "r.json").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / closed)  # root may write anywhere
    with pytest.raises(RecordError, match="permission denied"):
        check_writable(tmp_path / "folder" / "r.json")


# Loading


def test_loading_a_missing_file_says_so(tmp_path):
    with pytest.raises(RecordError, match="No such file or directory"):
        load(tmp_path / "missing.json")


def test_loading_a_folder_says_so(tmp_path):
    with pytest.raises(RecordError, match="Is a directory"):
        load(tmp_path)


def test_loading_a_path_with_a_nul_says_so():
    with pytest.raises(RecordError, match="embedded null"):
        load(Path("r\0.json"))


def test_loading_a_file_in_another_encoding_says_so(tmp_path):
    (tmp_path / "r.json").write_bytes(b'{"command": "\xff"}')
    with pytest.raises(RecordError, match="not UTF-8"):
        load(tmp_path / "r.json")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + b"\0" * 5000, b"[]", b"\xff\xfe{\0"])
def test_of_what_does_not_begin_as_a_record_only_the_beginning_is_read(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"r\.json is not an lrscout record: it does not begin with {"):
        load(tmp_path / "r.json")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_without_an_end_is_not_read_to_its_end():
    with pytest.raises(RecordError, match="/dev/zero is not an lrscout record"):
        load(Path("/dev/zero"))
