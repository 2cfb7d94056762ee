"""What single records add to a tally, and the bound that no record exceeds, whatever a task returns.

A tally is a vector of counts that add up over records, batches and devices. A task declares its form (the list
of its cells, and how long a vector one record may add) and gives the vector of each record, as the few cells that
are not zero. The sum is made here, after each record's vector has been cut to the declared length: so it holds
of every task, an owner's own too, that with one record more or less a tally moves by at most `bound` in L2, and
each cell by at most `bound`. Evaluation on a device sums what comes out of here and nothing else; whoever adds
noise to such a sum may take `bound` as its sensitivity, and `length` cells of whole numbers as what travels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 48  # of `most`: sums of squares stay exact in float64
MOST_CELLS = 1 << 31
WIDEST = 1 << 31  # of one entry; larger ones count as this

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TallyForm:
    """`cells`: name and shape of each part of the vector, in their order. `most`: the largest sum of squares of
    what one record adds, a whole number, so that the bound is exact; both public, from a task's options alone.

    Raises:
        ValueError: no cell, or a bound that is not in 1..2^48.
    """

    cells: tuple[tuple[str, tuple[int, ...]], ...]
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.most <= MOST:
            raise ValueError(f"the form of a tally: most = {self.most}; a whole number in 1..2^48")
        if not 1 <= self.length <= MOST_CELLS:
            raise ValueError(f"the form of a tally: {self.length} cells; 1..2^31")

    @property
    def length(self) -> int:
        """How many cells the vector has."""
        return sum(math.prod(shape) for _, shape in self.cells)

    @property
    def bound(self) -> float:
        """L2 norm that one record's vector has at most."""
        return math.sqrt(self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Tallies:
    """Of `count` records: entry e says that record `rows[e]` adds `values[e]` to cell `cells[e]`; each (E,) int64.

    What is not named is zero; entries of one record and cell add up.
    """

    count: int
    rows: Counts
    cells: Counts
    values: Counts

    @classmethod
    def one_each(cls, cells: Counts) -> Self:
        """Every record counts itself in one cell, (N,)."""
        return cls(len(cells), np.arange(len(cells)), cells, np.ones(len(cells), np.int64))

    @classmethod
    def listed(cls, cells: Sequence[Counts]) -> Self:
        """Record n adds one to each of `cells[n]`, twice to one that is named twice."""
        rows = np.repeat(np.arange(len(cells)), [len(each) for each in cells])
        all_ = np.concatenate([np.zeros(0, np.int64), *cells])
        return cls(len(cells), rows, all_, np.ones(len(all_), np.int64))

    @classmethod
    def full(cls, vectors: Counts) -> Self:
        """From one vector a record, (N, length)."""
        count, length = vectors.shape
        rows = np.repeat(np.arange(count), length)
        return cls(count, rows, np.tile(np.arange(length), count), vectors.reshape(-1))

    def squares(self) -> NDArray[np.float64]:
        """(count,): the sum of squares of what each record adds, exact below 2^53."""
        weights = self.values.astype(np.float64) ** 2
        return np.asarray(np.bincount(self.rows, weights, self.count), np.float64)


def bounded(tallies: Tallies, form: TallyForm) -> Tallies:
    """Every record's vector, shortened to `form.bound` where it is longer, towards zero in whole numbers.

    An entry outside of the form's cells or of the records counts nothing. No value raises an error: it would
    depend on a record.

    Raises:
        ValueError: not three vectors of int64 of one length.
    """
    found = _merged(_inside(_checked(tallies), form), form)
    squares = found.squares()
    over = squares > form.most
    if not over.any():
        return found
    share = np.ones(found.count)
    share[over] = np.sqrt(form.most / squares[over])
    values = np.trunc(found.values * share[found.rows]).astype(np.int64)
    cut = Tallies(found.count, found.rows, found.cells, values)
    left = cut.squares() <= form.most  # rounding leaves nothing above: looked at, not believed
    return Tallies(cut.count, cut.rows, cut.cells, values * left[cut.rows])


def summed(tallies: Tallies, form: TallyForm) -> Counts:
    """(length,): the sum over the records of what each adds once it is bounded."""
    found = bounded(tallies, form)
    total = np.zeros(form.length, np.int64)
    np.add.at(total, found.cells, found.values)
    return total


def _checked(tallies: Tallies) -> Tallies:
    parts = (tallies.rows, tallies.cells, tallies.values)
    fits = all(each.dtype == np.int64 and each.shape == (len(tallies.rows),) for each in parts)
    if not fits:
        raise ValueError("tallies() must give rows, cells and values as vectors of int64 of one length; counts add up without rounding")  # fmt: skip
    return tallies


def _inside(tallies: Tallies, form: TallyForm) -> Tallies:
    rows, cells, values = tallies.rows, tallies.cells, tallies.values
    if _within(rows, 0, tallies.count - 1) and _within(cells, 0, form.length - 1) and _within(values, -WIDEST, WIDEST):  # fmt: skip
        return tallies
    known = (rows >= 0) & (rows < tallies.count) & (cells >= 0) & (cells < form.length)
    values = np.clip(values, -WIDEST, WIDEST)
    return Tallies(tallies.count, rows[known], cells[known], values[known])


def _within(values: Counts, low: int, high: int) -> bool:
    return not len(values) or (int(values.min()) >= low and int(values.max()) <= high)


def _merged(tallies: Tallies, form: TallyForm) -> Tallies:
    """One entry at most for each record and cell."""
    places = tallies.rows * form.length + tallies.cells
    if (places[1:] > places[:-1]).all():
        return tallies
    kept, which = np.unique(places, return_inverse=True)
    values = np.zeros(len(kept), np.int64)
    np.add.at(values, which, tallies.values)
    rows, cells = np.divmod(kept, form.length)
    return Tallies(tallies.count, rows, cells, values)
