"""What a packaged model computes: a task's preparation and its module as one torch module.

Prepared records differ from those of the task by rounding alone, which an export checks. Each preparation is
written with few plain operators (edgeveil.shared.models.graph), and this module is no file of any task: the
code that trains stays as it is. A task without an entry in PREPARATIONS is packaged as it is, for records
that were prepared before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.shared.data.sounds.pairs import Pairs
from edgeveil.shared.data.tabular.columns import Ranged, set_points
from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.models.given import NumberOutput, OddOutput
from edgeveil.shared.models.taken import (
    ColumnsInput,
    ImageInput,
    MomentInput,
    SoundInput,
    Statistics,
)
from edgeveil.shared.tasks import block_features as blocks
from edgeveil.shared.tasks.backbone import asset
from edgeveil.shared.tasks.backbone.graph import Embedding
from edgeveil.shared.tasks.feature_head import FeatureHeadOptions
from edgeveil.shared.tasks.features import BIAS, BINS, CELL, POOL
from edgeveil.shared.tasks.images import ImageTask
from edgeveil.shared.tasks.own.simple import SimpleTask
from edgeveil.shared.tasks.sensors import graph as sensors
from edgeveil.shared.tasks.sensors import tables
from edgeveil.shared.tasks.sensors.anomaly import Anomaly, AnomalyOptions
from edgeveil.shared.tasks.sensors.forecasting import ForecastOptions
from edgeveil.shared.tasks.sensors.rare import RareClasses, RareOptions
from edgeveil.shared.tasks.sensors.regression import NumberTask
from edgeveil.shared.tasks.sensors.sequence import Recurrent, SensorSequence
from edgeveil.shared.tasks.sensors.tabular import Tabular
from edgeveil.shared.tasks.sounds import graph as sounds
from edgeveil.shared.tasks.sounds.command import AudioCommand, CommandOptions, SoundOptions
from edgeveil.shared.tasks.sounds.multimodal import Multimodal, PairOptions
from edgeveil.shared.tasks.spec import Task

RECORDS, VALUE, SCORE = "records", "value", "score"  # names in a graph
EXAMPLES = 6
NOTHING = np.zeros(EXAMPLES, np.int64)  # classes of made-up records
PI = np.float32(np.pi)
TERMS = 11  # the last power of the series: 0.2^13 / 13 is 6e-11


@dataclass(frozen=True, eq=False)
class Packaged:
    """`module`: raw records (n, *shape) → logits (n, labels). `raw` are made-up ones, `prepared` the same as
    the task itself prepares them, for `plain`, which gives the same. `picture`: (height, width, channels); `sound`:
    samples a second, and milliseconds of a record; `columns`, `moment`: what goes in; None for what a record is not.
    With `rows`, the candidates of a detector, the module gives (n, rows, 5 + labels) instead; what
    `given` says of numbers and scores, (n, 1).
    """

    module: nn.Module
    plain: nn.Module
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    raw: NDArray[np.float32]
    prepared: torch.Tensor
    picture: tuple[int, int, int] | None = None
    columns: ColumnsInput | None = None
    rows: int = 0
    sound: tuple[int, int] | None = None
    moment: MomentInput | None = None
    given: NumberOutput | OddOutput | None = None

    @property
    def prepares(self) -> bool:
        """Whether the graph takes raw records, and not prepared ones."""
        in_units = self.columns is not None and not self.columns.features
        return bool(self.picture or self.sound or self.moment or in_units)

    def comparable(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs as their difference counts: numbers in shares of their range, which may be far from zero."""
        if not isinstance(self.given, NumberOutput):
            return given
        low, high = self.given.number.low, self.given.number.high
        return np.asarray((given - (low + high) / 2) / ((high - low) / 2), np.float32)


def packaged(task: Task, options: Any, module: nn.Module) -> Packaged:
    """Records of one shape, each with a label of a list, a number or a score, or with boxes; raises TypeError for other tasks."""
    if isinstance(task, SimpleTask):
        return _own(task, module)
    if isinstance(task, Tabular | SensorSequence | NumberTask | Anomaly | RareClasses):
        return _on_columns(task, options, module)
    if task.signature(options).get("output") == "boxes":
        return _detector(task, options, module)
    labels, make = _labels(task, options), PREPARATIONS.get(task.spec.id)
    if make is not None and isinstance(task, ImageTask):
        return _pictures(task, options, module, make(options))
    if make is not None and isinstance(task, AudioCommand | Multimodal):
        known = _recorded if isinstance(task, AudioCommand) else _of_moments
        return known(task, options, module, make(options))
    prepared, _ = task.probe(EXAMPLES, torch.Generator().manual_seed(0), options)
    if not isinstance(prepared, torch.Tensor):
        raise TypeError("its records have no common shape")
    raw = prepared.numpy().astype(np.float32)
    return Packaged(module, module, raw.shape[1:], labels, raw, prepared)


def _recorded(task: Any, options: Any, module: nn.Module, before: nn.Module) -> Packaged:
    samples, whole = _recordings(options), nn.Sequential(before, module)
    prepared = torch.from_numpy(task.inputs(samples, options))
    heard, labels = (options.rate, options.length_ms), options.class_names
    return Packaged(whole, module, samples.shape[1:], labels, samples, prepared, sound=heard)


def _of_moments(task: Any, options: PairOptions, module: nn.Module, before: nn.Module) -> Packaged:  # fmt: skip
    taken, columns = sounds.moment_input(RECORDS, options), tuple(str(each.column) for each in options.ranges)  # fmt: skip
    parts = {sense: _of_a_sense(part, options) for sense, part in taken.parts.items()}
    found = Pairs(parts, NOTHING, (), columns)
    raw = dict(parts)
    if "window" in raw:  # its statistics are no part of the graph
        raw["window"] = tables.with_bias(task.described("window", found, options))
    flat = np.concatenate([each.reshape(EXAMPLES, -1) for each in raw.values()], axis=1)
    prepared, whole = torch.from_numpy(task.inputs(found, options)), nn.Sequential(before, module)
    return Packaged(whole, module, flat.shape[1:], options.class_names, flat, prepared, moment=taken)  # fmt: skip


def _of_a_sense(part: ImageInput | SoundInput | ColumnsInput, options: PairOptions) -> NDArray[np.float32]:  # fmt: skip
    """Made-up records (EXAMPLES, …) as they lie in files."""
    if isinstance(part, ImageInput):
        return _examples(part.height, part.width, part.channels)
    if isinstance(part, SoundInput):
        return _recordings(options)
    return _in_ranges(part.ranges, part.record_shape)


def _pictures(task: ImageTask, options: Any, module: nn.Module, before: nn.Module) -> Packaged:
    picture = (options.height, options.width, options.channels)
    raw = _examples(*picture)
    prepared = torch.from_numpy(np.ascontiguousarray(task.inputs(raw, options)))
    whole, labels = nn.Sequential(before, module), task.schema(options).labels
    return Packaged(whole, module, raw.shape[1:], labels, raw, prepared, picture)


def _own(task: SimpleTask, module: nn.Module) -> Packaged:
    """Of a model and a loss: its records are read and scaled as those of the product's tasks."""
    inner, fixed = task.inner, task.fixed
    if isinstance(inner, ImageTask):
        return _pictures(inner, fixed, module, Planes(fixed.channels, centred=False))
    return _on_columns(inner, fixed, module)


def _detector(task: Task, options: Any, module: nn.Module) -> Packaged:
    raw = _examples(options.size, options.size, 3)
    prepared = torch.from_numpy(np.ascontiguousarray(np.moveaxis(raw, 3, 1)))
    labels, sides = task.schema(options).labels, raw.shape[1:]
    whole = nn.Sequential(Colours(), module)
    return Packaged(whole, module, sides, labels, raw, prepared, sides, rows=options.rows)


def _on_columns(task: Any, options: Any, module: nn.Module) -> Packaged:
    """Scaling by public ranges is part of the graph; statistics of a window are not, and come before it."""
    ranges = options.ranges
    values = _in_ranges(ranges, task.schema(options).shape)
    names, labels = tuple(str(each.column) for each in ranges), getattr(options, "class_names", ())
    table = Table(names, values, NOTHING, NOTHING.astype(np.float32), ())
    prepared, _ = task.prepare(table, labels or ("",), options).take(np.arange(EXAMPLES))
    given, after = _given(task, options, module)
    seen = options.seen if isinstance(options, ForecastOptions) else getattr(options, "window", 0)
    values = values[:, :seen] if seen else values
    statistics = _statistics(options)
    count = prepared.shape[1] if statistics != "none" else 0
    taken = ColumnsInput(
        name=RECORDS,
        columns=tuple(str(each) for each in ranges),
        window=seen,
        features=count,
        statistics=statistics,
        signed_log=options.signed_log,
        foretold=options.target if statistics == "fixed-v1 forecast" else "",
    )
    before = [] if count else [sensors.Scaled(ranges, set_points(options.signed_log)), *_rows(options)]  # fmt: skip
    raw = prepared.numpy() if count else np.ascontiguousarray(values)
    whole = nn.Sequential(*before, after)
    return Packaged(whole, after, raw.shape[1:], labels, raw, prepared, columns=taken, given=given)


def _in_ranges(ranges: Sequence[Ranged], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Made-up values of columns (EXAMPLES, *shape): least, greatest, and any up to a fifth beyond."""
    shares = np.random.default_rng(0).uniform(-0.2, 1.2, (EXAMPLES, *shape))
    shares[0], shares[1] = 0, 1
    low, high = (np.array([getattr(each, end) for each in ranges]) for end in ("low", "high"))
    return np.asarray(low + shares * (high - low), np.float32)


def _statistics(options: Any) -> Statistics:
    if options.variant != "statistics":
        return "none"
    if isinstance(options, ForecastOptions):
        return "fixed-v1 forecast"
    return "fixed-v1 motion" if options.motion else "fixed-v1 plain"


def _rows(options: Any) -> list[nn.Module]:
    """What a linear model takes of scaled rows; networks take them as they are."""
    if isinstance(options, RareOptions):
        return [sensors.Hats(options)]
    if options.variant == "changes":
        return [sensors.Changes(options)]
    return [sensors.Logistic(len(options.ranges))] * (options.variant in {"logistic", "linear"})


def _given(
    task: Any, options: Any, module: nn.Module
) -> tuple[NumberOutput | OddOutput | None, nn.Module]:
    """What comes out where it is no logits, and the module that gives it of prepared records."""
    if isinstance(options, AnomalyOptions):
        normal = tuple(options.normal.split(",")) if options.normal else ()
        share = options.false_alarms / 1000
        odd = OddOutput(name=SCORE, false_alarms=share, threshold=None, normal=normal)
        return odd, sensors.Oddness(module, options)
    if isinstance(options, RareOptions):
        return None, module.get_submodule("head")  # its outputs are the logits among others
    if isinstance(module, Recurrent):
        return None, sensors.OverTime(module)
    if not isinstance(task, NumberTask):
        return None, module
    ahead = options.ahead if isinstance(options, ForecastOptions) else 0
    number = NumberOutput(name=VALUE, target=str(options.number), ahead=ahead)
    last = sensors.Change(module, options) if ahead else sensors.Column(module)
    return number, nn.Sequential(last, sensors.InUnits(options.number))


def _labels(task: Task, options: Any) -> tuple[str, ...]:
    told = task.signature(options)
    if told.get("output") == "proposals":
        raise TypeError(
            "what it gives of a picture are lists of no fixed length; for devices train detection"
        )
    if told.get("output") != "logits" or not isinstance(told.get("classes"), list):
        raise TypeError("it does not choose one label of a list")
    return task.schema(options).labels


def _examples(height: int, width: int, channels: int) -> NDArray[np.float32]:
    """Made-up pictures of 8 bits: noise, a slope, a black and a white one, strokes."""
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (EXAMPLES, height, width, channels))
    values[1] = np.linspace(0, 255, width).astype(np.int64)[None, :, None]
    values[2], values[3], values[4:] = 0, 255, 0
    for at in range(0, min(height, width), 3):
        values[4, at, :] = 255
        values[5, at, max(0, at - 2) : at + 2] = 60 + at
    pixels = (values / 255).astype(np.float32)
    return pixels[..., 0] if channels == 1 else pixels


def _recordings(options: SoundOptions) -> NDArray[np.float32]:
    """Made-up recordings: noise that swells, silence, a rising tone, a click, a soft and a loud word of two tones."""
    length = options.rate * options.length_ms // 1000
    time = np.arange(length) / options.rate
    random = np.random.default_rng(0)
    swell = np.sin(np.pi * np.arange(length) / length) ** 2
    word = swell * np.where(
        np.arange(length) < length // 2, np.sin(2000 * time), np.sin(9000 * time)
    )
    raw = np.zeros((EXAMPLES, length))
    raw[0] = swell * random.uniform(-0.5, 0.5, length)
    raw[2] = 0.7 * np.sin(2 * np.pi * time * (200 + 1000 * time))
    raw[3, length // 3] = 1
    raw[4], raw[5] = 0.01 * word, 0.9 * word + 0.1 * random.uniform(-1, 1, length)
    return raw.astype(np.float32)


class Planes(nn.Module):
    """Pixels (n, H, W[, C]) in 0..1 → (n, C, H, W), `centred` in -1..1, as convolutional networks take them."""

    def __init__(self, channels: int, *, centred: bool = True) -> None:
        super().__init__()
        self._colours, self._centred = channels > 1, centred

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        planes = pixels.permute(0, 3, 1, 2) if self._colours else pixels.unsqueeze(1)
        return (planes - 0.5) / 0.5 if self._centred else planes


class Colours(nn.Module):
    """Pixels (n, H, W, 3) → (n, 3, H, W)."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2)


class Flat(nn.Module):
    """As flat_pixels() of edgeveil.shared.tasks.features."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return _with_bias(_unit(pixels.flatten(1)))


class Fixed(nn.Module):
    """As fixed_features() of edgeveil.shared.tasks.features; lengths and angles go through float64, to be as exact."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self._height, self._width, self._channels = height, width, channels
        self._orientations = Orientations(channels, BINS)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        planes = pixels if self._channels > 1 else pixels.unsqueeze(3)
        each = (planes.narrow(3, at, 1) for at in range(self._channels))
        pooled = [self._blocks(plane, POOL).mean(dim=(2, 4)) for plane in each]
        parts = [self._histograms(planes), *(blocks.flatten(1) for blocks in pooled)]
        return _with_bias(_unit(torch.cat(parts, dim=1)))

    def _blocks(self, plane: torch.Tensor, side: int) -> torch.Tensor:
        return plane.reshape(-1, self._height // side, side, self._width // side, side)

    def _histograms(self, planes: torch.Tensor) -> torch.Tensor:
        rows, columns = self._height // CELL, self._width // CELL
        shares = self._orientations(planes).reshape(-1, rows, CELL, columns, CELL * BINS)
        by_row = shares.sum(dim=2).reshape(-1, rows, columns, CELL, BINS)
        found: torch.Tensor = by_row.sum(dim=3).sqrt()
        return found.flatten(1)


class Orientations(nn.Module):
    """(n, H, W, C) → how much of a gradient has each of `bins` orientations, (n, H, W, bins)."""

    bins: torch.Tensor

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self._channels, self._count = channels, bins
        self.register_buffer("bins", torch.arange(bins, dtype=torch.float32))

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        right, down = _across(planes, 2), _across(planes, 1)
        lengths = _length(right, down)
        if self._channels > 1:
            longest = lengths.argmax(dim=3, keepdim=True)
            right, down, lengths = (each.gather(3, longest) for each in (right, down, lengths))
        away = (_turn(right, down, self._count) - self.bins).abs()
        weight: torch.Tensor = (1 - torch.minimum(away, self._count - away)).clamp(min=0)
        return lengths * weight


class Blocks(nn.Module):
    """As block_features() of edgeveil.shared.tasks.block_features; sums over cells are products with 0 and 1."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self._channels = channels
        self._orientations = Orientations(channels, blocks.BINS)
        for cells in blocks.GRIDS:
            self._keep(f"grid{cells}", height, width, (cells, cells))
        self._keep("means", height, width, (blocks.means(height), blocks.means(width)))

    def _keep(self, name: str, height: int, width: int, grid: tuple[int, int]) -> None:
        for part, side, cells in (("down", height, grid[0]), ("across", width, grid[1])):
            self.register_buffer(f"{name}_{part}", _cells(side, cells))

    def _summed(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """(n, H, W, K) → (n, K, rows, columns)."""
        down, across = self.get_buffer(f"{name}_down"), self.get_buffer(f"{name}_across")
        return down @ values.permute(0, 3, 1, 2) @ across.transpose(0, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        planes = pixels if self._channels > 1 else pixels.unsqueeze(3)
        shares = self._orientations(planes)
        found = [_normalised(self._summed(f"grid{cells}", shares), cells) for cells in blocks.GRIDS]
        area = self.get_buffer("means_down").sum(1)[:, None] * self.get_buffer("means_across").sum(
            1
        )
        means = (self._summed("means", planes) / area).flatten(1)
        joined = torch.cat([_unit(torch.cat(found, dim=1)), blocks.SHARE * _unit(means)], dim=1)
        return _with_bias(joined / math.hypot(1, blocks.SHARE))


def _cells(side: int, cells: int) -> torch.Tensor:
    """(cells, side): 1 where a pixel belongs to a cell."""
    starts = [*blocks.starts(side, cells).tolist(), side]
    rows = torch.zeros(cells, side)
    for at in range(cells):
        rows[at, starts[at] : starts[at + 1]] = 1
    return rows


def _normalised(histograms: torch.Tensor, cells: int) -> torch.Tensor:
    """(n, BINS, cells, cells) → blocks of 2×2 cells, each of length 1 together, (n, …)."""
    most = cells - blocks.BLOCK + 1
    parts = [
        histograms.narrow(2, down, most).narrow(3, right, most)
        for down in range(blocks.BLOCK)
        for right in range(blocks.BLOCK)
    ]
    found = torch.cat(parts, dim=1).permute(0, 2, 3, 1)
    length = (found * found).sum(dim=3, keepdim=True).sqrt()
    return (found / (length + blocks.FLOOR)).flatten(1)


def _across(planes: torch.Tensor, axis: int) -> torch.Tensor:
    """Each value's next neighbour minus the one before it; the edge is its own neighbour."""
    size = planes.shape[axis]
    after = torch.cat([planes.narrow(axis, 1, size - 1), planes.narrow(axis, size - 1, 1)], axis)
    before = torch.cat([planes.narrow(axis, 0, 1), planes.narrow(axis, 0, size - 1)], axis)
    return after - before


def _length(right: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """As the C library's hypotf rounds it, so that equal lengths are equal here too."""
    return (right.double() ** 2 + down.double() ** 2).sqrt().float()


def _turn(right: torch.Tensor, down: torch.Tensor, bins: int) -> torch.Tensor:
    """Orientation in 0..bins of half a turn: arctan2 to the last bit of float32, then as in numpy.

    A share of 1e-7 of a gradient weighs 3e-4 after the root, so an angle must not be off by a rounding.
    """
    across, along = right.double().abs(), down.double().abs()
    longer = torch.maximum(across, along)
    eighth = _arctan(torch.minimum(across, along) / (longer + (longer == 0).double()))
    quarter = torch.where(along > across, math.pi / 2 - eighth, eighth)
    upper = torch.where(right < 0, math.pi - quarter, quarter)
    full = torch.where(down < 0, -upper, upper).float()
    half = torch.where(full < 0, full + float(PI), full)
    return half * (half < float(PI)).float() / float(PI) * bins


def _arctan(values: torch.Tensor) -> torch.Tensor:
    """Of float64 in 0..1, to 1e-9: angles are halved twice, then comes the series."""
    for _ in range(2):
        values = values / (1 + (1 + values * values).sqrt())
    square = values * values
    series = square * 0
    for power in range(TERMS, 0, -2):
        series = 1 / power - square * series
    return 4 * values * series


def _unit(rows: torch.Tensor) -> torch.Tensor:
    centred = rows - rows.mean(dim=1, keepdim=True)
    length = (centred * centred).sum(dim=1, keepdim=True).sqrt()
    return centred / length.clamp(min=1e-6) * (length > 1e-6).float()


def _with_bias(rows: torch.Tensor, bias: float = BIAS) -> torch.Tensor:
    return torch.cat([rows, rows.narrow(1, 0, 1) * 0 + bias], dim=1)


def _classification(options: Any) -> nn.Module:
    return Flat() if options.variant == "linear" else Planes(options.channels)


def _features(options: FeatureHeadOptions) -> nn.Module:
    if options.features == asset.NAME:
        return Embedding()
    make = Blocks if options.features == "blocks" else Fixed
    return make(options.height, options.width, options.channels)


def _sounds(options: CommandOptions) -> nn.Module:
    make = sounds.Picture if options.variant == "cnn" else sounds.Heard
    return make(options.rate, options.rate * options.length_ms // 1000)


def _moments(options: PairOptions) -> nn.Module:
    seen = "image" in options.named
    picture = Fixed(options.height, options.width, options.channels) if seen else None
    return sounds.Moments(options, picture)


PREPARATIONS: dict[str, Callable[[Any], nn.Module]] = {
    "audio-command": _sounds,
    "feature-head": _features,
    "image-classification": _classification,
    "multimodal": _moments,
}
