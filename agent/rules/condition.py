"""The condition of a rule: a small grammar, its parser, and what it says of a fact.

    condition = all {"or" all}        all = one {"and" one}
    one = "not" one | "(" condition ")" | side [("<" | "<=" | ">" | ">=" | "==" | "!=") side]
    side = a name of edgeveil.agent.rules.facts | a number | 'text' | "text" | true | false

What a fact does not know is neither true nor false: "not", "and" and "or" follow Kleene's three values, and a rule
follows from what is true alone.
"""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from edgeveil.agent.rules.facts import FIELDS, Fact, Kind, Known
from edgeveil.shared.base.names import listed, meant

MOST_TEXT = 1000  # characters
MOST_DEPTH = 20  # parentheses and "not" within each other

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,3})?)(?![\w.])"
    r"|'(?P<single>[^'\n]*)'|\"(?P<double>[^\"\n]*)\"|(?P<word>[A-Za-z_]\w*)|(?P<sign><=|>=|==|!=|<|>|\(|\)))",
    re.ASCII,
)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_OTHERS = {"=": "==", "&": "and", "|": "or", "!": "not", "≥": ">=", "≤": "<=", "≠": "!="}


class NoCondition(ValueError):
    """The text is none; the sentence says where and why."""


class Node(Protocol):
    def holds(self, fact: Fact) -> bool | None:
        """None where the fact does not know."""


@dataclass(frozen=True, slots=True)
class Side:
    """A fact's `name`, or a `value` if that is empty."""

    kind: Kind
    name: str = ""
    value: Known = False

    def of(self, fact: Fact) -> Known | None:
        return fact.get(self.name) if self.name else self.value

    def holds(self, fact: Fact) -> bool | None:
        found = self.of(fact)
        return found if isinstance(found, bool) else None


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Side
    sign: str
    right: Side

    def holds(self, fact: Fact) -> bool | None:
        left, right = self.left.of(fact), self.right.of(fact)
        return None if left is None or right is None else _SIGNS[self.sign](left, right)


@dataclass(frozen=True, slots=True)
class Not:
    inner: Node

    def holds(self, fact: Fact) -> bool | None:
        found = self.inner.holds(fact)
        return None if found is None else not found


@dataclass(frozen=True, slots=True)
class Joined:
    """`decides`: False for "and", True for "or"; one part that is so decides for all."""

    decides: bool
    parts: tuple[Node, ...]

    def holds(self, fact: Fact) -> bool | None:
        found = [part.holds(fact) for part in self.parts]
        if self.decides in found:
            return self.decides
        return None if None in found else not self.decides


@dataclass(frozen=True, slots=True)
class Condition:
    """`names`: the facts it asks for; `labels`: what it compares a label with."""

    text: str
    root: Node
    names: frozenset[str]
    labels: frozenset[str]

    def follows(self, fact: Fact) -> bool:
        return self.root.holds(fact) is True


def parse(text: str) -> Condition:
    """Raise NoCondition for what is none."""
    if len(text) > MOST_TEXT:
        raise NoCondition(f"longer than {MOST_TEXT} characters")
    return _Parser(text).condition()


@dataclass(frozen=True, slots=True)
class _Token:
    """`kind`: number, text, word, sign, or empty at the end."""

    kind: str
    text: str
    at: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._place = 0
        self._names: set[str] = set()
        self._labels: set[str] = set()

    def condition(self) -> Condition:
        root = self._any(0)
        if self._next.kind:
            raise self._wrong(f"{self._next.text!r} is one too many")
        return Condition(self._text, root, frozenset(self._names), frozenset(self._labels))

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, *texts: str) -> bool:
        """Whether the next token is one of these words or signs; if so, go past it."""
        found = self._next.kind in {"word", "sign"} and self._next.text in texts
        self._place += found
        return found

    def _any(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while self._take("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Joined(True, tuple(parts))

    def _all(self, depth: int) -> Node:
        parts = [self._one(depth)]
        while self._take("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Joined(False, tuple(parts))

    def _one(self, depth: int) -> Node:
        if depth > MOST_DEPTH:
            raise self._wrong(f"more than {MOST_DEPTH} within each other")
        if self._take("not"):
            return Not(self._one(depth + 1))
        if self._take("("):
            inner = self._any(depth + 1)
            if not self._take(")"):
                raise self._wrong("a ) is missing")
            return inner
        return self._comparison()

    def _comparison(self) -> Node:
        left = self._side()
        if self._next.kind != "sign" or self._next.text not in _SIGNS:
            if left.kind != "yes or no":
                raise self._wrong(f"a {left.kind} says nothing by itself: compare it with something")  # fmt: skip
            return left
        sign = self._next.text
        self._place += 1
        right = self._side()
        self._check(left, sign, right)
        if self._next.kind == "sign" and self._next.text in _SIGNS:
            raise self._wrong('one comparison at a time: write "a < b and b < c"')
        return Comparison(left, sign, right)

    def _check(self, left: Side, sign: str, right: Side) -> None:
        if left.kind != right.kind:
            raise self._wrong(f"a {left.kind} is compared with a {right.kind}")
        if left.kind != "number" and sign not in {"==", "!="}:
            raise self._wrong(f"{sign} compares numbers; a {left.kind} is == or !=")
        if "label" in {left.name, right.name}:
            self._labels |= {str(side.value) for side in (left, right) if not side.name}

    def _side(self) -> Side:
        token = self._next
        if token.kind == "number":
            self._place += 1
            return Side("number", value=float(token.text))
        if token.kind == "text":
            self._place += 1
            return Side("text", value=token.text)
        if token.kind != "word" or token.text in {"and", "or", "not"}:
            raise self._wrong("a name, a number or a 'text' is missing")
        if token.text in {"true", "false"}:
            self._place += 1
            return Side("yes or no", value=token.text == "true")
        kind = FIELDS.get(token.text)
        if kind is None:
            near = meant(token.text, FIELDS) or f"; there are {listed(list(FIELDS))}"
            raise self._wrong(f"{token.text[:40]!r} is no name{near}")
        self._place += 1
        self._names.add(token.text)
        return Side(kind, name=token.text)

    def _wrong(self, why: str) -> NoCondition:
        where = f"character {self._next.at + 1}" if self._next.kind else "the end"
        return NoCondition(f"at {where}: {why}")


def _tokens(text: str) -> Iterator[_Token]:
    """Ends with one of no kind."""
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            at = place + len(text[place:]) - len(text[place:].lstrip())
            raise NoCondition(f"at character {at + 1}: {_meant(text[at])}")
        kind = found.lastgroup or ""
        yield _Token("text" if kind in {"single", "double"} else kind, found[kind], found.start(kind))  # fmt: skip
        place = found.end()
    yield _Token("", "", end)


def _meant(char: str) -> str:
    if char in "'\"":
        return f"this {char} is not closed"
    other = _OTHERS.get(char)
    return f"{char!r} means nothing here" + (f"; write {other}" if other else "")
