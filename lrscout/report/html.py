"""A record as a web page of one file, which asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any

from lrscout.report.blocks import Block, TextCode, TextPlot, TextTable, setting_text
from lrscout.report.charts import Chart, charts
from lrscout.report.terminal import printable
from lrscout.report.views import printed, view_of
from lrscout.results import RunRecord


def to_html(record: RunRecord[Any]) -> str:
    """The report with plots to point at; every text of the record is escaped, and no script but ours may run."""
    view, record = view_of(record), printed(record)
    plots = charts(record)
    title = view.headline(record)
    body = [f"<h1>{_text(title)}</h1>"]
    shown = [block for block in view.blocks(record) if not (plots and isinstance(block, TextPlot))]
    paragraphs = [block for block in shown if isinstance(block, str)]
    body += map(_block, paragraphs)
    body += map(_figure, plots)
    body += [_block(block) for block in shown if not isinstance(block, str)]
    body.append(_pairs("Run", view.facts(record)))
    if record.warnings:
        body.append(f"<h2>Warnings</h2>\n<ul>{''.join(f'<li>{_text(each)}</li>' for each in record.warnings)}</ul>")
    body.append(
        _pairs("Settings", {name: setting_text(value) for name, value in record.settings.items() if value is not None})
    )
    body.append(f"<footer>lrscout {_text(record.environment.get('lrscout', ''))} {_text(record.command)}</footer>")
    return _page(title, "\n".join(filter(None, body)), plots)


def _page(title: str, body: str, plots: list[Chart]) -> str:
    style, script = ((files("lrscout.report") / "page" / name).read_text(encoding="utf-8") for name in FILES)
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
<script type="application/json" id="charts">{_data(plots)}</script>
<script>{script}</script>
</body>
</html>
"""


FILES = ("page.css", "page.js")


def _hash(text: str) -> str:
    """How a Content-Security-Policy names a style or a script that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(plots: list[Chart]) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps([asdict(plot) for plot in plots], allow_nan=False)  # letters beyond ASCII as \\u
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _text(text: object) -> str:
    return escape(printable(text))


def _figure(plot: Chart) -> str:
    hint = "<noscript>The plot needs JavaScript.</noscript>"
    return f"<figure><figcaption>{_text(plot.title)}</figcaption>{hint}</figure>"


def _block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{_text(block)}</p>"
    if isinstance(block, TextPlot):
        return f"<pre>{escape(block.text)}</pre>"
    if isinstance(block, TextCode):
        return f"<pre>{escape(chr(10).join(block.lines))}</pre>"
    return f'<div class="wide"><table>{_rows(block)}</table></div>'


def _rows(table: TextTable) -> str:
    lines = [f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in table.head)}</tr>"]
    for place, row in enumerate(table.rows):
        mark = ' class="chosen"' if place == table.chosen else ""
        lines.append(f"<tr{mark}>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>")
    return "\n".join(lines)


def _pairs(title: str, pairs: Any) -> str:
    if not pairs:
        return ""
    lines = "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in pairs.items())
    return f"<h2>{title}</h2>\n<dl>\n{lines}\n</dl>"
