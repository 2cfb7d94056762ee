"""One model, loaded after every check, and what it says of records."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.boxes import Boxes, Finder
from edgeveil.agent.inference.inputs import Item, from_file
from edgeveil.agent.inference.records import as_records, span
from edgeveil.agent.inference.trust import check_trust
from edgeveil.agent.inference.values import thresholds
from edgeveil.agent.inference.values.numbers import Number, Oddity
from edgeveil.shared.base.errors import DataError, ModelError
from edgeveil.shared.data.boxes.letterbox import Letterbox
from edgeveil.shared.models import graph, known_answer
from edgeveil.shared.models.given import BoxOutput, NumberOutput, OddOutput
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.package import Package, read_package
from edgeveil.shared.models.taken import Taken

QUIET = 3  # of onnxruntime: errors only
MOST_AT_ONCE = 64
MOST_VALUES = 1 << 22  # of one batch: 16 MiB of float32
HUGE = 1e30

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """`label` with the highest of the `scores`, which add up to one; `score` is that of `label`."""

    label: str
    score: float
    scores: Mapping[str, float]

    def as_json(self, threshold: float = 0.0) -> dict[str, Any]:
        """`label` is None where its score is below `threshold`."""
        return {
            "label": self.label if self.score >= threshold else None,
            "score": round(self.score, 6),
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
        }


Said = Prediction | Boxes | Number | Oddity


class Model:
    """What load() gives. `notice` says who signed, where nothing here vouches for the signer.

    `threshold`: the score above which a record is odd, None for none; by the device, else by the package.
    """

    def __init__(self, package: Package, session: Any, notice: str) -> None:
        self._session = session
        given = package.manifest.output
        self.threshold = given.threshold if isinstance(given, OddOutput) else None
        self.manifest: Manifest = package.manifest
        self._given, self._taken = [package.manifest.output.name], package.manifest.input.name
        self._most = max(
            1, min(MOST_AT_ONCE, MOST_VALUES // math.prod(package.manifest.input.shape))
        )
        self.signer, self.digest, self.notice = package.signer, package.digest, notice

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.output.labels

    @property
    def input(self) -> Taken:
        return self.manifest.input

    @property
    def batch(self) -> int:
        """Records that go through the graph together; bounds memory, changes no result."""
        return self._most

    @property
    def finder(self) -> Finder | None:
        """For a detector, what makes boxes of its outputs; None for a model that chooses labels."""
        if not isinstance(self.manifest.output, BoxOutput):
            return None
        return Finder(self.labels, self.input.shape[0])

    def predict(self, records: Any) -> list[Any]:
        """One Prediction per record; of a detector Boxes, in pixels of the picture; a Number, or an Oddity.

        `records`: the name of a picture or sound file, a list of such, or an array: one record or (n, …) of them,
        pictures as uint8 or as floats in 0..1, in the layouts of an .npz file.

        Raises:
            DataError: a file that cannot be read, an array of another shape or with other values.
        """
        if isinstance(records, str | Path):
            records = [records]
        if isinstance(records, np.ndarray):
            found, usable = as_records(records, self.input)
            if not usable.all():
                where = int(np.flatnonzero(~usable)[0])
                raise DataError(
                    f"record {where} has a value that is not finite or not in {span(self.input)}"
                )
            return self.said(found)
        items = [self._file(str(name)) for name in records]
        found = np.empty((len(items), *self.input.shape), np.float32)
        for at, item in enumerate(items):
            found[at] = item.record
        return self.said(found, [item.placed for item in items])

    def said(
        self, records: NDArray[np.float32], placed: Sequence[Letterbox | None] = ()
    ) -> list[Said]:
        """What the model says of each; `placed`: where on a detector's square each picture lies."""
        given = self.manifest.output
        if isinstance(given, NumberOutput | OddOutput):
            values = self.values(records).tolist()
            if isinstance(given, NumberOutput):
                return [Number(value) for value in values]
            return [Oddity(value, self.threshold) for value in values]
        if (finder := self.finder) is None:
            return [self.prediction(row) for row in self.scores(records)]
        where = placed or [None] * len(records)
        outputs = self.outputs(records)
        return [finder.found(rows, each) for rows, each in zip(outputs, where, strict=True)]

    def scores(self, records: NDArray[np.float32]) -> Scores:
        """(n, labels) of records as the manifest describes them; rows add up to one."""
        return _softmax(self.outputs(records).astype(np.float64))

    def values(self, records: NDArray[np.float32]) -> Scores:
        """(n,) of a model of numbers or of scores; what is not finite counts as very small or large."""
        found = self.outputs(records)[:, 0].astype(np.float64)
        return np.nan_to_num(found, nan=HUGE, posinf=HUGE, neginf=-HUGE)

    def outputs(self, records: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, …) as the graph gives them."""
        if (
            0 < len(records) <= self._most
        ):  # nothing to put together: a tenth of a small model's time
            return self._run(records)
        rows = [np.zeros((0, *self.manifest.output.shape), np.float32)]
        rows += (
            self._run(records[at : at + self._most]) for at in range(0, len(records), self._most)
        )
        return np.concatenate(rows)

    def _run(self, records: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            (given,) = self._session.run(self._given, {self._taken: np.ascontiguousarray(records)})
        except Exception as error:
            raise ModelError(f"the model failed on its input ({_first_line(error)})") from error
        return np.asarray(given, np.float32)

    def check_itself(self) -> None:
        """Raise ModelError unless this runtime makes of known records what the package says it should."""
        asked = {self.input.name: known_answer.records(self.input)}
        try:
            (found,) = self._session.run([self.manifest.output.name], asked)
            known_answer.check(self.manifest, found)
        except Exception as error:
            raise ModelError(f"this model cannot be used here: {_first_line(error)}") from error

    def prediction(self, row: Scores) -> Prediction:
        """Of one row of scores()."""
        top = int(row.argmax())
        scores = dict(zip(self.labels, row.tolist(), strict=True))
        return Prediction(self.labels[top], float(row[top]), scores)

    def _file(self, name: str) -> Item:
        item = from_file(name, name, self.input)
        if item.record is None:
            raise DataError(f"{name}: {item.why}")
        return item


def load(
    path: str | Path, *, trust: str | None = None, home: Path | None = None, threads: int = 0
) -> Model:
    """Read a model package, check all of it and make it ready; warns of a signer nobody vouches for.

    `trust` is the key in hex that must have signed; without it the coordinator of the agent's `home`, if
    one is given. `threads`: of the runtime, 0 for as many as there are processors.

    Raises:
        ModelError: damaged, of another version, or with a graph that is not run here.
        ModelUntrusted: signed by somebody else.
    """
    model = open_model(Path(path), trust=trust, home=home, threads=threads)
    if model.notice:
        warnings.warn(f"{path}: {model.notice}", stacklevel=2)
    return model


def open_model(
    path: Path, *, trust: str | None = None, home: Path | None = None, threads: int = 0
) -> Model:
    """As load(), without a warning; with the threshold that the agent of `home` has found for it."""
    package = read_package(path)
    notice = check_trust(package, trust, home)
    try:
        model = made_ready(package, notice, threads)
    except ValueError as error:
        raise ModelError(f"{path}: this model package cannot be used: {error}") from error
    if home is not None and isinstance(package.manifest.output, OddOutput):
        found = thresholds.kept(home, model.digest)
        model.threshold = model.threshold if found is None else found.threshold
    return model


def made_ready(package: Package, notice: str = "", threads: int = 0) -> Model:
    """Its graph checked and loaded; raises ValueError with what is wrong."""
    graph.check(package.model, graph.Wanted.of(package.manifest))
    return Model(package, _session(package, threads), notice)


def _session(package: Package, threads: int) -> Any:
    """Raise ValueError if the runtime does not take the graph, or sees another form than its manifest."""
    import onnxruntime  # noqa: PLC0415 - heavy, and only for whoever predicts

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    try:
        made = onnxruntime.InferenceSession(
            package.model,
            sess_options=options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # it would print to standard output, and try the same again
        )
    except Exception as error:
        raise ValueError(f"its graph does not run ({_first_line(error)})") from error
    return made


def _softmax(logits: Scores) -> Scores:
    """Rows that add up to one; what is not finite counts as very small or large."""
    if not np.isfinite(logits).all():
        logits = np.nan_to_num(logits, nan=-HUGE, posinf=HUGE, neginf=-HUGE)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
