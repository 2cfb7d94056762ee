"""Lines of cells from a text file that nobody vouches for: streamed, bounded, and never an error for a line.

Quotes as RFC 4180 has them. A quote that is not closed within some lines spoils its own line and no
other: the lines after it are read again as if it were not there.
"""

import csv
import io
import itertools
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgeveil.shared.base.errors import DataError

LONGEST_LINE = 1 << 16  # characters
MOST_JOINED = 8  # lines of one record with quoted line ends; bounds what a stray quote costs
MOST_BYTES = 4 << 30  # of a file
WHOLE = 64 << 20  # bytes of a file of which every line is given as it lies on the disk
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
Line = tuple[
    int, list[str] | None
]  # its number from 1; None for one that is too long or not closed


def read_lines(path: Path, separator: str, encoding: str) -> Iterator[Line]:
    """Every line with something in it, as cells.

    A mark at the beginning (UTF-8, UTF-16) decides over `encoding`; bytes that are no text are replaced.

    Raises:
        DataError: the file is larger than MOST_BYTES, or cannot be read.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(
                f"{path}: more than {MOST_BYTES >> 30} GiB; split it into several files"
            )
        with path.open("rb") as raw:
            start = raw.read(3)
        found = next((name for mark, name in MARKS if start.startswith(mark)), encoding)
        with path.open(encoding=found, errors="replace") as file:
            yield from _cells(file, separator)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def raw_lines(path: Path, skip: int) -> Iterator[bytes]:
    """The same lines as bytes, but for the first `skip`, in pieces if they are long; raises DataError.

    Of a file above WHOLE bytes only a share of them: which, their own content says, so that a file that
    has grown still gives lines that it gave before.
    """
    try:
        share = 1 << (path.stat().st_size // WHOLE).bit_length()
        with path.open("rb") as file:
            for _ in range(skip):
                file.readline(LONGEST_LINE)
            for line in iter(lambda: file.readline(LONGEST_LINE), b""):
                if share == 1 or zlib.crc32(line) % share == 0:
                    yield line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _cells(file: IO[str], separator: str) -> Iterator[Line]:
    again: deque[tuple[int, str | None]] = deque()
    numbered = _physical(file)
    while True:
        taken = again.popleft() if again else next(numbered, None)
        if taken is None:
            return
        number, line = taken
        if line is None:
            yield number, None
        elif '"' not in line:
            if line.strip():
                yield number, line.split(separator)
        else:
            yield number, _quoted(line, separator, numbered, again)


def _physical(file: IO[str]) -> Iterator[tuple[int, str | None]]:
    """Lines without their ends; None for one that is too long."""
    for number in itertools.count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if line[-1] != "\n" and len(line) == LONGEST_LINE:
            while line and line[-1] != "\n":
                line = file.readline(LONGEST_LINE)
            yield number, None
        else:
            yield number, line.rstrip("\n")


def _quoted(
    line: str,
    separator: str,
    numbered: Iterator[tuple[int, str | None]],
    again: deque[tuple[int, str | None]],
) -> list[str] | None:
    """The cells of a line with quotes, and of as many after it as its last quote is open for.

    What was looked at in vain goes to the front of `again`.
    """
    text, looked = f"{line}\n", list[tuple[int, str | None]]()
    while True:
        cells = _parsed(text, separator)
        if cells is not None and not cells[-1].endswith("\n"):
            return cells
        more = again.popleft() if again else next(numbered, None)
        if more is not None:
            looked.append(more)
        following = None if more is None else more[1]
        if following is None or len(looked) >= MOST_JOINED or len(text) > LONGEST_LINE:
            again.extendleft(reversed(looked))
            return None
        text += f"{following}\n"


def _parsed(text: str, separator: str) -> list[str] | None:
    """The last cell ends with a line end where a quote is still open."""
    try:
        return next(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error:
        return None
