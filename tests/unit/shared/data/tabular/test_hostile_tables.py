"""Files that nobody vouches for: whatever the lines below the first hold, nothing raises and little time goes by."""

import time

import numpy as np
import pytest
from sensors_bench import LINES, SCHEMA, rising, windows_of, write_table

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data import kinds, probe
from edgeveil.shared.data.left_out import total

HEAD, BODY = LINES.split("\n", 1)
TOKENS = (b'"', b",", b"\n", b"\r", b"\0", b"\xff\xfe", b"=", b"1e999", b"nan", b"\xc3", b'""', b"\x1a", b"9" * 400)  # fmt: skip
SCHEMAS = (SCHEMA, windows_of(3), windows_of(2, step=1))


def read(folder):
    schema = kinds.infer(folder)
    found = schema.read(folder)
    assert len(found.values) == len(found.targets) == len(found.numbers)
    assert np.isfinite(found.values).all()
    assert (found.values >= np.array([-40, 0])).all()
    assert (found.values <= np.array([85, 100])).all()
    assert all(each.sentence for each in found.left)
    return found


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_mutation_of_the_rows_raises_or_gets_out_of_range(schema, tmp_path):
    random = np.random.default_rng(8)
    body = (BODY + rising(6) + rising(6, "fault")).encode()
    for turn in range(300):
        mutated = bytearray(body)
        for _ in range(random.integers(1, 6)):
            at = int(random.integers(len(mutated)))
            token = TOKENS[random.integers(len(TOKENS))]
            mutated[at : at + int(random.integers(0, 4))] = token
        folder = write_table(tmp_path / str(turn), f"{HEAD}\n".encode() + bytes(mutated), schema)
        found = read(folder)
        assert len(found.targets) + total(found.left) > 0


def test_no_mutation_of_a_whole_file_raises_anything_but_that_it_is_no_data(tmp_path):
    random = np.random.default_rng(9)
    for turn in range(200):
        data = LINES.encode("utf-16" if turn % 2 else "utf-8")
        mutated = bytearray(data)
        for _ in range(4):
            mutated[int(random.integers(len(mutated)))] = int(random.integers(256))
        folder = write_table(tmp_path / str(turn), bytes(mutated[: random.integers(len(data))]))
        try:
            probe.probe(folder)
            read(folder)
        except DataError:
            continue


HOSTILE = {
    "a quote in every line": '20,50,"ok\n' * 20_000,
    "one quote, then plain lines": ('"\n' + "20,50,ok\n" * 8) * 3_000,
    "two quotes and a comma": '","\n' * 60_000,
    "one endless line": "9" * 300_000,
    "endless lines of quotes": ('"' * 65_000 + "\n") * 5,
    "nothing but line ends": "\n" * 300_000,
    "nothing but commas": "," * 300_000,
    "zero bytes": "\0" * 300_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_file_costs_much_more_time_than_its_bytes(kind, tmp_path):
    folder = write_table(tmp_path / "d", f"{HEAD}\n{HOSTILE[kind]}")
    began = time.process_time()
    read(folder)
    assert time.process_time() - began < 4  # of some 300 kB; measured at most 0.6 s


def test_a_file_of_more_bytes_than_are_read_is_refused_without_reading_it(tmp_path):
    folder = write_table(tmp_path / "d")
    with (folder / "a.csv").open("r+b") as file:
        file.truncate((4 << 30) + 1)
    with pytest.raises(DataError, match="more than 4 GiB"):
        kinds.infer(folder).read(folder)


def test_very_many_lines_that_are_left_out_are_counted_and_not_all_named(tmp_path):
    folder = write_table(tmp_path / "d", LINES + "x,1,ok\n" * 3_000)
    found = kinds.infer(folder).read(folder)
    assert total(found.left) == 3_000
    assert len(found.left) == 1_001
