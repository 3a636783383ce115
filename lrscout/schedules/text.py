"""The text of a schedule, `NAME[:key=value,...]`: its parts, and their values."""

from __future__ import annotations

import re
from typing import Any

from lrscout.errors import UsageError

_GIVEN = re.compile(r"(.*?)(?::(\s*[\w-]+\s*=.*))?", re.DOTALL)  # names may contain colons, keys may not


def read(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters.

    Raises:
        UsageError: a parameter is not key=value, or given twice.
    """
    match = _GIVEN.fullmatch(text)
    assert match is not None  # the pattern matches any text
    return match[1], pairs_in(match[2], text) if match[2] is not None else {}


def pairs_in(given: str, text: str) -> dict[str, Any]:
    """The values by their keys of `key=value,...`, a part of `text`.

    Raises:
        UsageError: see `read`.
    """
    params: dict[str, Any] = {}
    for pair in _pairs(given):
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise no_pair(pair, text)
        if key in params:
            raise UsageError(f"{text!r} gives {key!r} twice.", hint="Keep one of them.")
        params[key] = _literal(value.strip())
    return params


def _pairs(text: str) -> list[str]:
    """The text cut at its commas, but for those that a closing bracket follows before an opening one."""
    found, end, is_inside = [], len(text), False
    for place in range(len(text) - 1, -1, -1):
        if text[place] in "[]":
            is_inside = text[place] == "]"
        elif text[place] == "," and not is_inside:
            found.append(text[place + 1 : end])
            end = place
    return [text[:end], *reversed(found)]


def no_pair(pair: str, text: str) -> UsageError:
    """The error about a part of a text."""
    return UsageError(f"{pair!r} in {text!r} is not key=value.", hint="For example: cosine:min_ratio=0.1,warmup=50.")


def _literal(text: str) -> Any:
    """Parse a number, true, false, null or a list in brackets; any other text stands for itself."""
    if text.startswith("[") and text.endswith("]"):
        return [_literal(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def written(value: Any) -> str:
    """Format a value as `parse_schedule` reads it."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).removesuffix(".0")
