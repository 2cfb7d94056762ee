"""A Parquet file that nobody vouches for, as lines of cells: what holds for text files then holds for it.

Read in batches, and only the columns that schema.toml names. A column of another type than its role takes is
an error of the file, not of a record: Parquet says of what type a column is, so one value speaks for all.
pyarrow is imported where a file is opened: no other file needs it.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import DataError, NotInstalled
from edgeveil.shared.data.tabular.layout import ColumnSection, Layout
from edgeveil.shared.data.tabular.lines import LONGEST_LINE, MOST_BYTES, WHOLE, Line

SUFFIX = ".parquet"
INSTALL = "pip install 'edgeveil[parquet]'"
BATCH = 4096  # rows
LARGEST_GROUP = 1 << 30  # bytes of its columns, unpacked
MOST_PER_BYTE = (
    1000  # values for each byte of the file: a run of one value may be long, not endless
)
FREE_VALUES = 1 << 22  # that a small file may have all the same
FREE_BYTES = 1 << 26  # unpacked, likewise; above, MOST_PER_BYTE of them for each byte of the file
MOST_COLUMNS = 4096
_THRIFT = {"thrift_string_size_limit": 1 << 24, "thrift_container_size_limit": 1 << 20}
_START = datetime(1970, 1, 1, tzinfo=UTC)
NUMBERS, WORDS, MOMENTS = "numbers", "text", "points in time"


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX


def as_written(layout: Layout) -> Layout:
    """The same columns and windows, in the spelling of the cells below."""
    spelling = {"separator": ",", "decimal": ".", "header": True, "skip_lines": 0}
    return layout.model_copy(update=spelling)


def read_rows(path: Path, sections: Sequence[ColumnSection] | None = None) -> Iterator[Line]:
    """The names of the columns, as line 0, then each row as cells, from line 1.

    Of `sections` those that are there; without, every column that holds plain values.

    Raises:
        NotInstalled: pyarrow is not here.
        DataError: damaged, too large, or a column of a type that its role does not take.
    """
    first = _open(path)
    try:
        with first:
            kinds = _kinds(path, first.schema_arrow, sections)
            _check_size(path, first.metadata, list(kinds))
        yield 0, list(kinds)
        words = [name for name, kind in kinds.items() if kind == WORDS]
        with _open(path, words) as file:
            yield from _rows(file, kinds)
    except _unreadable() as error:
        raise DataError(f"{path}: not a readable Parquet file ({_short(error)})") from error


def raw_rows(path: Path, sections: Sequence[ColumnSection]) -> Iterator[bytes]:
    """The same rows as bytes, of a large file a share, as raw_lines() takes it."""
    share = 1 << (path.stat().st_size // WHOLE).bit_length()
    for number, cells in read_rows(path, sections):
        row = "\x1f".join(cells or ()).encode()
        if number and (share == 1 or zlib.crc32(row) % share == 0):
            yield row


def text_columns(path: Path) -> frozenset[str]:
    """Columns whose type is text, whatever their values look like."""
    file = _open(path)
    with file:
        return frozenset(each.name for each in file.schema_arrow if _kind(each.type) == WORDS)


def _open(path: Path, words: Sequence[str] = ()) -> Any:
    """`words`: columns of which a text that stands in many rows is unpacked once, not for each."""
    parquet = _arrow().parquet
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(
                f"{path}: more than {MOST_BYTES >> 30} GiB; split it into several files"
            )
        return parquet.ParquetFile(
            path,
            read_dictionary=list(words),
            pre_buffer=False,
            page_checksum_verification=True,
            **_THRIFT,
        )
    except _unreadable() as error:
        raise DataError(f"{path}: not a readable Parquet file ({_short(error)})") from error


def _unreadable() -> tuple[type[Exception], ...]:
    """What pyarrow raises for what it cannot read."""
    plain = (OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, NotImplementedError)  # fmt: skip
    return (_arrow().ArrowException, *plain)


def _arrow() -> Any:
    """The library; raises NotInstalled."""
    try:
        import pyarrow.parquet  # noqa: PLC0415 - only for whoever has such files
    except ImportError as error:
        raise NotInstalled("Parquet is read by pyarrow, which is not installed", INSTALL) from error
    return pyarrow


def _kinds(path: Path, schema: Any, sections: Sequence[ColumnSection] | None) -> dict[str, str]:
    """What each column that is read holds, by its name; raises DataError for what its role does not take."""
    names = [str(name) for name in schema.names]
    if len(names) > MOST_COLUMNS or len(set(names)) < len(names):
        raise DataError(f"{path}: two columns have one name, or there are over {MOST_COLUMNS}")
    kinds = {name: _kind(schema.field(at).type) for at, name in enumerate(names)}
    if sections is None:
        return {name: kind for name, kind in kinds.items() if kind is not None}
    wanted = {each.title: each for each in sections if each.title in kinds}
    for name, section in wanted.items():
        taken = _taken(section)
        if taken and kinds[name] not in taken:
            raise DataError(
                f"{path}: the column {name!r} holds {schema.field(name).type}; a {section.role} takes "
                f"{' or '.join(taken)}: cast it, or mend its role or type in schema.toml"
            )
    return {name: kind for name in wanted if (kind := kinds[name]) is not None}


def _kind(held: Any) -> str | None:
    """None for nested values, bytes and other types that are not read."""
    types = _arrow().types
    if types.is_dictionary(held):
        held = held.value_type
    if types.is_integer(held) or types.is_floating(held) or types.is_decimal(held):
        return NUMBERS
    if types.is_timestamp(held) or types.is_date(held):
        return MOMENTS
    plain = (types.is_string, types.is_large_string, types.is_boolean)
    return WORDS if any(test(held) for test in plain) else None


def _taken(section: ColumnSection) -> tuple[str, ...]:
    """Numbers may name a class or a group; a text that looks like a number is none."""
    match section.role:
        case "feature" | "target":
            return (NUMBERS,)
        case "label" | "group":
            return (WORDS, NUMBERS)
        case "time":
            return (MOMENTS, WORDS) if section.type == "timestamp" else (NUMBERS,)
        case _:
            return ()


def _check_size(path: Path, metadata: Any, names: Sequence[str]) -> None:
    """By what the file says of itself, before any of it is unpacked; raises DataError."""
    values, most = metadata.num_rows * len(names), MOST_PER_BYTE * path.stat().st_size
    if values > max(FREE_VALUES, most):
        raise DataError(f"{path}: {values} values in so small a file; write it again, uncompressed")
    sizes = [metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups)]
    if min(sizes, default=0) < 0 or sum(sizes) > max(FREE_BYTES, most):
        raise DataError(
            f"{path}: {sum(sizes)} bytes unpacked in so small a file; write it again, uncompressed"
        )
    for at, size in enumerate(sizes):
        if size > LARGEST_GROUP:
            raise DataError(
                f"{path}: row group {at} is {size} bytes unpacked, at most {LARGEST_GROUP}; write smaller groups"
            )


def _rows(file: Any, kinds: dict[str, str]) -> Iterator[Line]:
    """One group of rows after another, so that no more than one is unpacked at a time."""
    number = 0
    for group in range(file.metadata.num_row_groups):
        read = {"batch_size": BATCH, "columns": list(kinds), "use_threads": False}
        for batch in file.iter_batches(row_groups=[group], **read):
            columns = [_cells(batch.column(name)) for name in kinds]
            for cells in zip(*columns, strict=True):
                number += 1
                long = sum(map(len, cells)) > LONGEST_LINE
                yield number, None if long else list(cells)


def _cells(array: Any) -> list[str]:
    """Each value as a text file would have it; "" for none."""
    types = _arrow().types
    if types.is_dictionary(array.type):
        used = array.indices.unique().drop_null()
        known = dict(zip(used.to_pylist(), _cells(array.dictionary.take(used)), strict=True))
        return [known.get(at, "") for at in array.indices.to_pylist()]
    spell = _spelling(array.type)
    return ["" if value is None else spell(value) for value in _plain(array).to_pylist()]


def _plain(array: Any) -> Any:
    """The same values, of types whose Python form cannot fail: bytes for text, microseconds for moments."""
    pa, types = _arrow(), _arrow().types
    if types.is_string(array.type) or types.is_large_string(array.type):
        return array.cast(pa.large_binary())
    if types.is_timestamp(array.type) or types.is_date(array.type):
        return array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return array


def _spelling(held: Any) -> Callable[[Any], str]:
    types = _arrow().types
    if types.is_string(held) or types.is_large_string(held):
        return lambda value: value.decode("utf-8", "replace")
    if types.is_timestamp(held) or types.is_date(held):
        return _moment
    if types.is_boolean(held):
        return lambda value: str(value).lower()
    return str if types.is_integer(held) or types.is_decimal(held) else lambda value: repr(float(value))  # fmt: skip


def _moment(microseconds: int) -> str:
    try:
        return (_START + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:  # beyond year 9999: no timestamp to whoever reads the cell
        return str(microseconds)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
