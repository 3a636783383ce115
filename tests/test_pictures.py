"""Exports that other packages make: SVG and PNG by matplotlib, events for TensorBoard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records, with_texts
from test_hostile_text import ALL_AT_ONCE, mixed

from lrscout.cli import main
from lrscout.records import save
from lrscout.report.exports import EXPORTS

RECORDS = records()
by_name = pytest.mark.parametrize("name", RECORDS)


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")


@pytest.fixture
def tensorboard():
    return pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")


def texts(svg: bytes) -> str:
    root = ElementTree.fromstring(svg)
    return "\n".join(text for element in root.iter() if element.tag.endswith("}text") for text in element.itertext())


@pytest.mark.usefixtures("matplotlib")
def test_an_svg_has_the_headline_the_axes_and_the_legend():
    told = texts(EXPORTS["svg"].make(RECORDS["find-lr"]))
    for text in ("Suggested learning rate: 1.0e-3", "learning rate", "smoothed", "usable 1.0e-4 to 1.0e-2"):
        assert text in told
    assert "0.001" in told.split()
    assert "$" not in told


@pytest.mark.usefixtures("matplotlib")
def test_the_same_record_gives_the_same_svg():
    assert EXPORTS["svg"].make(RECORDS["find-lr"]) == EXPORTS["svg"].make(RECORDS["find-lr"])


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("name", ["find-lr", *(pytest.param(name, marks=pytest.mark.slow) for name in RECORDS)])
@pytest.mark.parametrize("change", [mixed(0), lambda _: ALL_AT_ONCE, lambda _: "$\\frac{", lambda _: "_hidden"])
def test_no_text_of_a_record_becomes_markup_in_a_picture(name, change):
    made = EXPORTS["svg"].make(with_texts(RECORDS[name], change))
    kinds = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(made).iter()}
    assert not kinds & {"script", "image", "a", "foreignObject", "img"}


@pytest.mark.usefixtures("matplotlib")
def test_a_png_is_a_picture_of_as_many_plots_as_there_are():
    def height(name: str) -> int:
        made = EXPORTS["png"].make(RECORDS[name])
        assert made.startswith(b"\x89PNG\r\n")
        return int.from_bytes(made[20:24], "big")

    assert height("find-batch-size") == 2 * height("find-lr")


def scalars(made: bytes, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder / EXPORTS["tensorboard"].inside).write_bytes(made)
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.usefixtures("tensorboard")
def test_tensorboard_reads_the_points_of_a_sweep(tmp_path):
    found = scalars(EXPORTS["tensorboard"].make(RECORDS["find-lr"]), tmp_path)
    points = RECORDS["find-lr"].result.points
    assert set(found) == {"find-lr/lr", "find-lr/loss", "find-lr/smoothed_loss"}
    assert found["find-lr/loss"] == [(p.step, pytest.approx(p.loss)) for p in points]


@pytest.mark.usefixtures("tensorboard")
@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("several optimizers", "optimizer 2/loss"),
        ("find-batch-size", "find-batch-size/peak_bytes"),
        ("compare-schedulers", "cosine/seed 0/loss"),
        ("run", "run/lr"),
    ],
)
def test_tensorboard_reads_every_command(name, tag, tmp_path):
    assert len(scalars(EXPORTS["tensorboard"].make(RECORDS[name]), tmp_path)[tag]) > 1


@pytest.mark.usefixtures("tensorboard")
@by_name
def test_events_are_made_of_any_record(name):
    assert EXPORTS["tensorboard"].make(RECORDS[name])


@pytest.mark.parametrize("name", ["svg", "tensorboard"])
def test_a_missing_package_is_told_before_the_run_with_what_to_install(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lrscout.report.exports.find_spec", lambda module: None)
    save(RECORDS["find-lr"], tmp_path / "r.json")
    assert main(["show", str(tmp_path / "r.json"), f"--export-{name}", str(tmp_path / "made")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"the package {EXPORTS[name].needs[0]} is not installed" in err


@pytest.mark.usefixtures("matplotlib", "tensorboard")
def test_exports_need_no_torch(tmp_path):
    save(RECORDS["find-lr"], tmp_path / "r.json")
    flags = [word for name in EXPORTS for word in (f"--export-{name}", f"made.{name}")]
    code = "import sys; from lrscout.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "show", "r.json", "-q", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0.001\n0.0001\nFalse\n"
    assert len(list(tmp_path.glob("made.*"))) == len(EXPORTS)
