"""Counters, gauges and histograms in the OpenMetrics text format 1.0, which Prometheus reads.

Labels have few values, all from closed lists; a name or an address of a device is never one.
"""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
DISK_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds
MOST_SERIES = 500  # of one metric; a label that grows beyond is a mistake of ours and is cut off
Labels = tuple[tuple[str, str], ...]


@dataclass
class Metric:
    """`kind`: counter, gauge, histogram or info. A counter's samples carry _total."""

    name: str
    kind: str
    help: str
    values: dict[Labels, float] = field(default_factory=dict)

    def set(self, value: float, **labels: str) -> None:
        self._put(_labels(labels), value)

    def add(self, value: float = 1.0, **labels: str) -> None:
        key = _labels(labels)
        self._put(key, self.values.get(key, 0.0) + value)

    def lines(self) -> Iterable[str]:
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        for labels, value in sorted(self.values.items()):
            yield f"{self.name}{suffix}{_braces(labels)} {_number(value)}"

    def _put(self, labels: Labels, value: float) -> None:
        if labels in self.values or len(self.values) < MOST_SERIES:
            self.values[labels] = value


@dataclass
class Histogram:
    """Observations counted in cumulative buckets; `bounds` ascending, in seconds."""

    name: str
    help: str
    bounds: Sequence[float]
    kind: str = "histogram"
    _seen: dict[Labels, list[float]] = field(default_factory=dict)  # one per bound, +Inf, sum

    def observe(self, value: float, **labels: str) -> None:
        cells = self._seen.setdefault(_labels(labels), [0.0] * (len(self.bounds) + 2))
        for place, bound in enumerate(self.bounds):
            if value <= bound:
                cells[place] += 1
        cells[-2] += 1
        cells[-1] += value

    def lines(self) -> Iterable[str]:
        for labels, cells in sorted(self._seen.items()):
            names = [*(_number(bound) for bound in self.bounds), "+Inf"]
            for name, count in zip(names, cells[:-1], strict=True):
                yield f"{self.name}_bucket{_braces((*labels, ('le', name)))} {_number(count)}"
            yield f"{self.name}_count{_braces(labels)} {_number(cells[-2])}"
            yield f"{self.name}_sum{_braces(labels)} {_number(cells[-1])}"


class Registry:
    """All metrics of a process; `lock` makes a group of changes visible at once."""

    def __init__(self, prefix: str) -> None:
        self.lock = threading.RLock()
        self._prefix = prefix
        self._metrics: list[Metric | Histogram] = []

    def counter(self, name: str, help_text: str) -> Metric:
        return self._add(Metric(self._prefix + name, "counter", help_text))

    def gauge(self, name: str, help_text: str) -> Metric:
        return self._add(Metric(self._prefix + name, "gauge", help_text))

    def info(self, name: str, help_text: str, values: Mapping[str, str]) -> Metric:
        made = self._add(Metric(self._prefix + name, "info", help_text))
        made.set(1.0, **values)
        return made

    def histogram(self, name: str, help_text: str, bounds: Sequence[float]) -> Histogram:
        made = Histogram(self._prefix + name, help_text, bounds)
        self._metrics.append(made)
        return made

    def render(self) -> str:
        with self.lock:
            lines = []
            for metric in self._metrics:
                lines.append(f"# TYPE {metric.name} {metric.kind}")
                lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
                lines += metric.lines()
        return "\n".join([*lines, "# EOF", ""])

    def _add(self, metric: Metric) -> Metric:
        self._metrics.append(metric)
        return metric


def _labels(values: Mapping[str, str]) -> Labels:
    return tuple(sorted(values.items()))


def _braces(labels: Labels) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
