"""JSON for reading that stays quick when a list in it is very long."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def pieces(report: Mapping[str, Any]) -> Iterator[str]:
    """The text of one JSON object, indented, with a list of objects one to a line.

    A report can hold 100,000 attempts; json.dumps with an indent encodes in Python and holds every
    token at once, which takes gigabytes for that many.
    """
    before = "{\n"
    for name, value in report.items():
        yield f"{before}  {json.dumps(name, ensure_ascii=False)}: "
        before = ",\n"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from _lines(value)
        else:
            yield json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n  ")
    yield "\n}\n" if report else "{}\n"


def _lines(values: list[dict[str, Any]]) -> Iterator[str]:
    before = "[\n    "
    for one in values:
        yield before + json.dumps(one, ensure_ascii=False)
        before = ",\n    "
    yield "\n  ]"
