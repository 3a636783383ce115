"""Arguments as `key=value`, where the value is written as in a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrscout.errors import UsageError
from lrscout.yaml_nodes import Document


def parse_value(text: str) -> Any:
    """The value of `text` as it would be read from a recipe.

    Raises:
        UsageError: the text is not valid YAML.
    """
    document = Document(text)
    if text.lstrip().startswith("#"):
        document.add_problem((1, 1), "YAML reads this as a comment")  # color=#fff would become null
    if document.problems:
        _, _, problem = min(document.problems)
        raise UsageError(f"Cannot read {text!r}: {problem}.", hint=_quoting_hint("-k"))
    return document.root.value


def parse_pairs(pairs: Sequence[str], flag: str = "--kwarg") -> dict[str, Any]:
    """The key=value pairs of a repeatable flag, as a dict.

    Raises:
        UsageError: a pair has no "=" or no key, a key is repeated, or a value is not valid YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{flag} must be key=value, not {pair!r}.", hint=f"For example: {flag} width=64")
        if key in values:
            raise UsageError(f"{flag} sets {key!r} twice.", hint="Remove one of them.")
        try:
            values[key] = parse_value(text)
        except UsageError as error:
            raise UsageError(f"{flag} {key}: {error.message}", hint=_quoting_hint(flag)) from None
    return values


def _quoting_hint(flag: str) -> str:
    return f"""Quote text that has a special meaning in YAML, for example: {flag} 'glob="*.csv"'"""
