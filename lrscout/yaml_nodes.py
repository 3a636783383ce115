"""A strict YAML reader that keeps the position of every value.

Values have the types of the YAML 1.2 core schema, unlike in PyYAML: `1e-3` is a number, `no` and `12:30` are text,
and `010` is ten. PyYAML only parses the text into events; its resolvers are not used.

Source: https://yaml.org/spec/1.2.2/#103-core-schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 50  # far more than a recipe needs, far less than Python's recursion limit
MAX_DIGITS = 250  # of an integer: int() rejects 4301 digits, float() overflows at 310

Position = tuple[int, int]  # line and column, starting at 1
NOWHERE: Position = (0, 0)


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"more than {MAX_DIGITS} digits")
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


def _number(text: str) -> float:
    return float(re.sub(r"\.(?=[in])", "", text.lower()))  # Python spells inf and nan without the dot


def _text(text: str) -> str:
    """Joins surrogate pairs, as JSON writes characters beyond U+FFFF; half a pair raises ValueError."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _merge(text: str) -> None:
    raise ValueError("merge keys are not supported; write out the entries")


FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"null|Null|NULL|~|", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _whole_number),
    "float": (FLOAT, _number),
    "merge": (r"<<", _merge),
    "str": (r"(?s:.*)", _text),
}
"""The types of a plain scalar, in the order in which they are tried: the pattern and the conversion."""

TAG_PREFIX = "tag:yaml.org,2002:"  # written as !! in YAML


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a document: its plain value and its position."""

    value: Any
    position: Position
    entries: Mapping[Any, tuple[Node, Node]] = field(default_factory=dict)  # of a mapping: its key and value nodes
    broken: bool = False  # an error has been reported for it
    items: Sequence[Node] = ()  # of a list


class Document:
    """A YAML document and all errors found in it; the value of the root is None if it is empty."""

    def __init__(self, text: str) -> None:
        import yaml  # takes 60 ms to import; --help does not need it

        self.problems: set[tuple[int, int, str]] = set()
        self.root = Node(None, (1, 1), broken=True)
        self.events: Any = None
        try:
            self.events = yaml.SafeLoader(text)
            self.root = self._read_root()
        except yaml.reader.ReaderError as error:
            lines = text[: error.position].split("\n")
            self.add_problem((len(lines), len(lines[-1]) + 1), f"the character {chr(error.character)!r} is not allowed")
        except yaml.MarkedYAMLError as error:
            message = ", ".join(part for part in (error.context, error.problem) if part)
            self.add_problem(_position(error.problem_mark or error.context_mark), message)
        except (ValueError, OverflowError) as error:  # PyYAML's chr() of "\UFFFFFFFF"
            self.add_problem(_position(self.events.get_mark()), str(error))

    def add_problem(self, position: Position, message: str) -> None:
        """Add an error at a position."""
        self.problems.add((*position, message))

    def _read_root(self) -> Node:
        import yaml

        self.events.get_event()  # start of the stream
        if self.events.check_event(yaml.StreamEndEvent):
            return Node(None, (1, 1))
        self.events.get_event()  # start of the document
        root = self._read_node(0)
        self.events.get_event()  # end of the document
        if not self.events.check_event(yaml.StreamEndEvent):
            mark = self.events.peek_event().start_mark
            self.add_problem(_position(mark), "only one document is allowed")
        return root

    def _read_node(self, depth: int) -> Node:
        import yaml

        event = self.events.get_event()
        position = _position(event.start_mark)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if event.anchor is not None:
            self.add_problem(position, "anchors (&) and aliases (*) are not supported; write out the value")
        if isinstance(event, yaml.AliasEvent):
            return Node(None, position, broken=True)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, position)
        children = []
        while not self.events.check_event(yaml.CollectionEndEvent):
            children.append(self._read_node(depth + 1))
        self.events.get_event()
        if isinstance(event, yaml.SequenceStartEvent):
            broken = self._refuse_tag(event.tag, ["seq"], position)
            return Node([child.value for child in children], position, broken=broken, items=children)
        broken = self._refuse_tag(event.tag, ["map"], position)
        entries = self._entries(children)
        return Node({key: value.value for key, (_, value) in entries.items()}, position, entries, broken)

    def _entries(self, children: Sequence[Node]) -> dict[Any, tuple[Node, Node]]:
        """The entries of a mapping from its alternating keys and values; invalid keys are reported and left out."""
        entries: dict[Any, tuple[Node, Node]] = {}
        for key, value in zip(children[::2], children[1::2]):
            if key.broken:
                continue
            if isinstance(key.value, (list, dict)):
                self.add_problem(key.position, "keys must be single values, not lists or mappings")
            elif key.value in entries:
                line, _ = entries[key.value][0].position
                self.add_problem(key.position, f"duplicate key {key.value!r}, first on line {line}")
            else:
                entries[key.value] = (key, value)
        return entries

    def _scalar(self, event: Any, position: Position) -> Node:
        text = event.value
        if self._refuse_tag(event.tag, SCALARS, position):
            return Node(None, position, broken=True)
        kind = "str"
        if event.tag is not None:
            kind = event.tag.removeprefix(TAG_PREFIX)
        elif event.implicit[0]:  # neither quoted nor tagged
            kind = next(kind for kind, (pattern, _) in SCALARS.items() if re.fullmatch(pattern, text))
        pattern, convert = SCALARS[kind]
        try:
            if re.fullmatch(pattern, text):
                return Node(convert(text), position)
            reason = "invalid syntax"
        except ValueError as error:
            reason = str(error)
        self.add_problem(position, f"cannot read {text[:40]!r} as {kind}: {reason}")
        return Node(None, position, broken=True)

    def _refuse_tag(self, tag: str | None, kinds: Iterable[str], position: Position) -> bool:
        if tag is None or tag in [TAG_PREFIX + kind for kind in kinds]:
            return False
        self.add_problem(
            position, f"the tag {tag.replace(TAG_PREFIX, '!!')} is not supported here; write a plain value"
        )
        return True


class PlainDocument:
    """Values that were read already, as TOML is, in the form of a document; nothing in it has a position of its own."""

    def __init__(self, value: Any) -> None:
        self.problems: set[tuple[int, int, str]] = set()
        self.root = _plain_node(value)

    def add_problem(self, position: Position, message: str) -> None:
        """Add an error."""
        self.problems.add((*position, message))


def _plain_node(value: Any) -> Node:
    entries = {}
    items: list[Node] = []
    if isinstance(value, dict):
        entries = {key: (Node(key, NOWHERE), _plain_node(item)) for key, item in value.items()}
    elif isinstance(value, list):
        items = [_plain_node(item) for item in value]
    return Node(value, NOWHERE, entries, items=items)


def _position(mark: Any) -> Position:
    return (mark.line + 1, mark.column + 1)
