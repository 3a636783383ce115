"""The web page of a record: read by a parser, and opened in a real browser where there is one."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import BROWSER, page_of

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records, with_texts
from test_hostile_text import HOSTILE, by_changes, is_legible

from lrscout.report.charts import charts
from lrscout.report.exports import EXPORTS

RECORDS = records()
by_name = pytest.mark.parametrize("name", RECORDS)
in_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium-headless-shell)"),
]


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and what stands in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        self.texts.setdefault(self._within, []).append(data)


def page(record) -> str:
    return EXPORTS["html"].make(record)


@by_name
def test_a_page_has_the_headline_and_asks_nothing_of_a_network(name):
    made = Parsed(page(RECORDS[name]))
    assert made.texts["h1"][0] == made.texts["title"][0]
    for tag, attributes in made.elements:
        assert not {"src", "href", "srcset", "data", "action"} & attributes.keys(), tag
    style = "".join(made.texts["style"])
    assert "url(" not in style
    assert "@import" not in style


@by_name
def test_only_the_style_and_the_script_of_lrscout_are_allowed(name):
    made = Parsed(page(RECORDS[name]))
    policy = next(a["content"] for tag, a in made.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for text in (made.texts["style"][0], made.texts["script"][-1]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


@by_name
@by_changes
def test_no_text_of_a_record_becomes_markup(name, changes):
    plain = [tag for tag, _ in Parsed(page(with_texts(RECORDS[name], lambda text: "x"))).elements]
    for change in changes:
        made = page(with_texts(RECORDS[name], change))
        assert is_legible(made)
        assert sorted({tag for tag, _ in Parsed(made).elements}) == sorted(set(plain))
        assert "<img" not in made
        assert made.count("<script") == 2
        assert made.lower().count("</script") == 2


def test_a_text_of_a_record_is_whole_on_the_page():
    record = dataclasses.replace(RECORDS["find-lr"], warnings=("<b>&amp; \"quoted\" 'x'",))
    assert Parsed(page(record)).texts["li"] == ["<b>&amp; \"quoted\" 'x'"]


def test_the_plots_are_in_the_page_as_data():
    made = Parsed(page(RECORDS["find-lr"]))
    (chart,) = json.loads(made.texts["script"][0])
    assert (chart["x"], chart["x_scale"]) == ("learning rate", "log")
    points = [(p.lr, p.loss) for p in RECORDS["find-lr"].result.points]
    assert [tuple(p) for p in chart["curves"][0]["points"]] == points
    assert [mark["label"] for mark in chart["marks"]] == ["usable 1.0e-4 to 1.0e-2", "suggested 1.0e-3"]


def test_charts_leave_out_what_is_not_finite():
    record = RECORDS["find-lr"]
    odd = tuple(dataclasses.replace(p, loss=float("nan")) for p in record.result.points[:6])
    changed = dataclasses.replace(record, result=dataclasses.replace(record.result, points=odd))
    (chart,) = charts(changed)
    assert [len(curve.points) for curve in chart.curves] == [0, 6]


@by_name
def test_every_record_with_a_result_has_charts_but_the_one_that_ran_nothing(name):
    assert bool(charts(RECORDS[name])) == (name not in ("dry run", "failed", "tune", "check"))


class TestInBrowser:
    pytestmark = in_browser

    @pytest.mark.parametrize("dark", [False, True])
    def test_pointing_at_the_plot_tells_its_values(self, tmp_path, dark):
        path = tmp_path / "page.html"
        path.write_text(page(RECORDS["find-lr"]), encoding="utf-8")
        with page_of(path, dark=dark) as opened:
            where = "(() => { const b = document.querySelector('svg').getBoundingClientRect(); return [b.x, b.y] })()"
            x, y = opened.value(where)
            assert opened.value("document.querySelector('.tip').innerText") == ""
            opened.move(x + 70, y + 100)
            told = opened.value("document.querySelector('.tip').innerText")
            assert told.splitlines() == ["learning rate 1e-5", "loss 2", "smoothed 2"]
            back = opened.value("getComputedStyle(document.body).backgroundColor")
            assert back == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
            assert (opened.requests, opened.problems) == ([path.as_uri()], [])

    def test_a_curve_is_hidden_and_the_axis_made_logarithmic_by_a_click(self, tmp_path):
        path = tmp_path / "page.html"
        path.write_text(page(RECORDS["compare-schedulers"]), encoding="utf-8")
        with page_of(path, width=400) as opened:
            count = "document.querySelectorAll('polyline').length"
            assert opened.value(count) == 2
            x, y = opened.value(
                "(() => { const b = document.querySelector('.legend button').getBoundingClientRect();"
                " return [b.x + 5, b.y + 5] })()"
            )
            opened.click(x, y)
            assert opened.value(count) == 1
            ticks = "[...document.querySelectorAll('svg text[text-anchor=end]')].map(t => t.textContent).join()"
            before = opened.value(ticks)
            opened.value("document.querySelector('.legend input').click()")
            assert opened.value(ticks) != before
            assert opened.value("document.documentElement.scrollWidth <= 400")
            assert opened.problems == []

    @pytest.mark.parametrize("name", RECORDS)
    def test_nothing_in_a_record_runs_or_breaks_the_page(self, tmp_path, name):
        hostile = "<img src=x onerror=alert(1)><script>alert(2)</script></script><svg onload=alert(3)>" + "".join(
            HOSTILE
        )
        path = tmp_path / "page.html"
        path.write_text(page(with_texts(RECORDS[name], lambda text: hostile)), encoding="utf-8")
        with page_of(path) as opened:
            assert opened.value("document.images.length + document.scripts.length") == 2
            assert opened.value("document.querySelectorAll('svg').length") == len(charts(RECORDS[name]))
            assert (opened.requests, opened.problems) == ([path.as_uri()], [])

    def test_a_script_that_someone_adds_to_the_page_does_not_run(self, tmp_path):
        path = tmp_path / "page.html"
        added = "<script>document.title = 'taken over'</script></body>"
        path.write_text(page(RECORDS["find-lr"]).replace("</body>", added), encoding="utf-8")
        with page_of(path) as opened:
            assert opened.value("document.title") == "Suggested learning rate: 1.0e-3"
            assert re.search("Content Security Policy", "".join(opened.problems))
