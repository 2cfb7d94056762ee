"""JSON for reading that stays quick when a list in it is very long."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SUSPECT = re.compile(r"[^\x20-\x7e]")


def readable(value: Any, *, indent: int | None = None, tight: bool = False) -> str:
    """JSON with every printable character as itself and all others escaped, so that no terminal obeys it.

    What json.dumps leaves alone above 0x7e (C1 controls, changes of direction, lone surrogates) stands
    inside strings only, where an escape means the same.
    """
    separators = (",", ":") if tight else None
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False, separators=separators))


def escaped(text: str) -> str:
    """JSON text with what is not printable as escapes; line ends between values stay."""
    return text if text.isprintable() else _SUSPECT.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if char == "\n" or char.isprintable():
        return char
    return json.dumps(char)[1:-1]


def pieces(report: Mapping[str, Any]) -> Iterator[str]:
    """The text of one JSON object, indented, with a list of objects one to a line.

    A report can hold 100,000 attempts; json.dumps with an indent encodes in Python and holds every
    token at once, which takes gigabytes for that many.
    """
    before = "{\n"
    for name, value in report.items():
        yield f"{before}  {readable(name)}: "
        before = ",\n"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from _lines(value)
        else:
            yield readable(value, indent=2).replace("\n", "\n  ")
    yield "\n}\n" if report else "{}\n"


def _lines(values: list[dict[str, Any]]) -> Iterator[str]:
    before = "[\n    "
    for one in values:
        yield before + readable(one)
        before = ",\n    "
    yield "\n  ]"
