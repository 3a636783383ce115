"""YAML text into plain values with their positions, strictly.

Values are typed by the core schema of YAML 1.2, not as PyYAML does it: `1e-3` is a number, `no` and `12:30`
are text, `010` is ten. PyYAML only splits the text into events; what they mean is decided here, so that its
resolvers are neither used nor changed.

Source: https://yaml.org/spec/1.2.2/#103-core-schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 50  # far deeper than any recipe, far from Python's recursion limit
MAX_DIGITS = 250  # of a whole number: int() refuses 4301 digits, float() overflows at 310

Position = tuple[int, int]  # line and column, from 1


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"more than {MAX_DIGITS} digits")
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


def _number(text: str) -> float:
    return float(re.sub(r"\.(?=[in])", "", text.lower()))  # Python writes inf and nan without the dot


def _text(text: str) -> str:
    """JSON writes a character beyond U+FFFF as a pair of surrogates; half a pair is no text."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _merge(text: str) -> None:
    raise ValueError("merge keys are refused; write the entries out")


FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"null|Null|NULL|~|", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _whole_number),
    "float": (FLOAT, _number),
    "merge": (r"<<", _merge),
    "str": (r"(?s:.*)", _text),
}
"""The kinds of a plain scalar, in the order they are tried: what one looks like, and its value."""

TAG_PREFIX = "tag:yaml.org,2002:"  # what the !! of !!int stands for


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a document: its plain value and where it stands."""

    value: Any
    position: Position
    entries: Mapping[Any, tuple[Node, Node]] = field(default_factory=dict)  # of a mapping: key and value
    broken: bool = False  # complained of already
    items: Sequence[Node] = ()  # of a list


class Document:
    """One YAML document and every problem met in reading it; a root of None where it is empty."""

    def __init__(self, text: str) -> None:
        import yaml  # 60 ms, and --help does without

        self.problems: set[tuple[int, int, str]] = set()
        self.root = Node(None, (1, 1), broken=True)
        self.events: Any = None
        try:
            self.events = yaml.SafeLoader(text)
            self.root = self._read_root()
        except yaml.reader.ReaderError as error:
            lines = text[: error.position].split("\n")
            self.complain((len(lines), len(lines[-1]) + 1), f"the character {chr(error.character)!r} is not allowed")
        except yaml.MarkedYAMLError as error:
            message = ", ".join(part for part in (error.context, error.problem) if part)
            self.complain(_position(error.problem_mark or error.context_mark), message)
        except (ValueError, OverflowError) as error:  # PyYAML's chr() of "\UFFFFFFFF"
            self.complain(_position(self.events.get_mark()), str(error))

    def complain(self, position: Position, message: str) -> None:
        self.problems.add((*position, message))

    def _read_root(self) -> Node:
        import yaml

        self.events.get_event()  # the stream's start
        if self.events.check_event(yaml.StreamEndEvent):
            return Node(None, (1, 1))
        self.events.get_event()  # the document's start
        root = self._read_node(0)
        self.events.get_event()  # the document's end
        if not self.events.check_event(yaml.StreamEndEvent):
            mark = self.events.peek_event().start_mark
            self.complain(_position(mark), "a second document begins; only one is allowed")
        return root

    def _read_node(self, depth: int) -> Node:
        import yaml

        event = self.events.get_event()
        position = _position(event.start_mark)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if event.anchor is not None:
            self.complain(position, "anchors (&) and aliases (*) are refused; write the value out")
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
        """A mapping's entries from its keys and values in turn, without the keys that are refused."""
        entries: dict[Any, tuple[Node, Node]] = {}
        for key, value in zip(children[::2], children[1::2]):
            if key.broken:
                continue
            if isinstance(key.value, (list, dict)):
                self.complain(key.position, "a key must be a single value, not a list or a mapping")
            elif key.value in entries:
                line, _ = entries[key.value][0].position
                self.complain(key.position, f"duplicate key {key.value!r}, first on line {line}")
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
            reason = "it is written otherwise"
        except ValueError as error:
            reason = str(error)
        self.complain(position, f"cannot read {text[:40]!r} as {kind}: {reason}")
        return Node(None, position, broken=True)

    def _refuse_tag(self, tag: str | None, kinds: Iterable[str], position: Position) -> bool:
        if tag is None or tag in [TAG_PREFIX + kind for kind in kinds]:
            return False
        self.complain(position, f"the tag {tag.replace(TAG_PREFIX, '!!')} is refused here; write a plain value")
        return True


def _position(mark: Any) -> Position:
    return (mark.line + 1, mark.column + 1)
