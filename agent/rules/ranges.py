"""Comparisons of a rule that are decided beforehand by what the facts can be: never true, or always."""

import math
from collections.abc import Iterator, Mapping, Sequence

from edgeveil.agent.rules.condition import Comparison, Joined, Node, Not, Side
from edgeveil.agent.rules.rule_file import Rule

Range = tuple[float, float]  # the least and the most that a fact can be, both included


def decided(rules: Sequence[Rule], ranges: Mapping[str, Range]) -> Iterator[str]:
    """A sentence for each comparison that no answer can change; facts without a range are left alone."""
    for rule in rules:
        for each in _comparisons(rule.condition.root):
            left, right = _reach(each.left, ranges), _reach(each.right, ranges)
            if left is None or right is None or each.left.name == each.right.name != "":
                continue
            found = _verdict(left, each.sign, right)
            if found is not None:
                said = f"{_shown(each.left)} {each.sign} {_shown(each.right)}"
                because = ", ".join(_told(side.name, ranges) for side in (each.left, each.right) if side.name)  # fmt: skip
                yield f"rule {rule.name!r}: {said} is {'always' if found else 'never'} true" + (f": {because}" if because else "")  # fmt: skip


def _verdict(left: Range, sign: str, right: Range) -> bool | None:
    """What the comparison always gives; None where it depends."""
    if sign in {">", ">="}:
        return _verdict(right, sign.replace(">", "<"), left)
    if sign in {"==", "!="}:
        apart = left[1] < right[0] or right[1] < left[0]
        alike = left == right and left[0] == left[1]
        return (sign == "!=") is apart if apart or alike else None
    if left[1] < right[0] or (sign == "<=" and left[1] == right[0]):
        return True
    if left[0] > right[1] or (sign == "<" and left[0] == right[1]):
        return False
    return None


def _reach(side: Side, ranges: Mapping[str, Range]) -> Range | None:
    if side.name:
        return ranges.get(side.name)
    return (float(side.value), float(side.value)) if side.kind == "number" else None


def _comparisons(node: Node) -> Iterator[Comparison]:
    if isinstance(node, Comparison):
        yield node
    elif isinstance(node, Not):
        yield from _comparisons(node.inner)
    elif isinstance(node, Joined):
        for part in node.parts:
            yield from _comparisons(part)


def _shown(side: Side) -> str:
    return side.name or f"{side.value:g}"


def _told(name: str, ranges: Mapping[str, Range]) -> str:
    low, high = ranges[name]
    return f"{name} is {low:g} or more" if math.isinf(high) else f"{name} is {low:g} to {high:g}"
