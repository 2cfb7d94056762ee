"""Windows over recordings: where they begin, what ends a recording, and what is left out."""

import time

import numpy as np
import pytest
from sensors_bench import SCHEMA, rising, windows_of, write_table

from edgeveil.shared.data import kinds, probe
from edgeveil.shared.data.left_out import Reason

HEAD = "temp,load,state\n"
TIMED = SCHEMA + '\n[[columns]]\nname = "t"\nrole = "time"\n'
GROUPED = SCHEMA + '\n[[columns]]\nname = "who"\nrole = "group"\n'


def starts(folder):
    """The first temperature of each window, and the sentences of what was left out."""
    found = kinds.infer(folder).read(folder)
    assert probe.count_records(folder) >= len(found.targets)
    assert (np.diff(found.values[:, :, 0], axis=1) == 1).all(), "a window goes over an edge"
    return found.values[:, 0, 0].tolist(), found.left


@pytest.mark.parametrize(
    ("length", "step", "wanted"),
    [(4, None, [0, 4, 8]), (4, 2, [0, 2, 4, 6, 8]), (4, 5, [0, 5]), (4, 1, [0, 1, 2, 3, 4, 5, 6, 7, 8]), (12, None, [0])],
)  # fmt: skip
def test_windows_begin_where_length_and_step_say(length, step, wanted, tmp_path):
    folder = write_table(tmp_path / "d", HEAD + rising(12), windows_of(length, step=step))
    assert starts(folder) == (wanted, ())
    schema = kinds.infer(folder)
    assert (schema.kind, schema.shape) == ("windows", (length, 2))
    assert probe.count_records(folder) == len(wanted)


def test_a_recording_ends_where_the_label_changes(tmp_path):
    lines = HEAD + rising(5) + rising(5, "fault", 5) + rising(3, "ok", 10)
    folder = write_table(tmp_path / "d", lines, windows_of(4))
    found, left = starts(folder)
    assert found == [0, 5]
    assert kinds.infer(folder).read(folder).targets.tolist() == [0, 1]
    assert [(each.reason, each.sentence) for each in left] == [
        (Reason.SHORT, "a.csv: lines 12 to 14: 3 rows, a window takes 4")
    ]


def test_a_recording_ends_where_the_group_changes_and_groups_are_counted(tmp_path):
    rows = [f"{at},50,ok,{'ann' if at < 6 else 'bob'}" for at in range(12)]
    lines = "temp,load,state,who\n" + "\n".join(rows)
    folder = write_table(tmp_path / "d", lines, windows_of(4, columns=GROUPED))
    assert starts(folder)[0] == [0, 6]
    assert kinds.infer(folder).survey(folder).groups == 2


@pytest.mark.parametrize(
    ("times", "more", "wanted"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "", [0, 4]),
        ([0, 1, 2, 3, 3, 4, 5, 6], "", [0, 4]),
        ([0, 1, 0, 1, 2, 3, 4, 5], "", [2]),
        ([0, 1, 9, 10, 11, 12, 13, 14], "", [0, 4]),
        ([0, 1, 9, 10, 11, 12, 13, 14], "gap = 5.0", [2]),
    ],
)
def test_a_recording_ends_where_time_does_not_go_on(times, more, wanted, tmp_path):
    rows = [f"{at},50,ok,{time}" for at, time in enumerate(times)]
    lines = "temp,load,state,t\n" + "\n".join(rows)
    folder = write_table(tmp_path / "d", lines, windows_of(4, more=more, columns=TIMED))
    assert starts(folder)[0] == wanted


def test_time_can_be_written_as_a_date(tmp_path):
    rows = [f"{at},50,ok,2026-01-31 12:00:{at + 10 * (at > 3):02}" for at in range(8)]
    schema = windows_of(4, more="gap = 2.0", columns=TIMED + 'type = "timestamp"\n')
    folder = write_table(tmp_path / "d", "temp,load,state,t\n" + "\n".join(rows), schema)
    assert starts(folder)[0] == [0, 4]


def test_the_zone_of_the_machine_does_not_cut_a_recording(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    moments = [f"2026-10-25 0{2 + at // 6}:{at % 6}0:00" for at in range(12)]  # clocks go back at 3
    rows = [f"{at},50,ok,{moment}" for at, moment in enumerate(moments)]
    schema = windows_of(12, more="gap = 700.0", columns=TIMED + 'type = "timestamp"\n')
    folder = write_table(tmp_path / "d", "temp,load,state,t\n" + "\n".join(rows), schema)
    assert starts(folder)[0] == [0]
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("bad", ["x,50,ok", "5,50", ",50,ok", '5,50,"ok'])
def test_only_the_windows_with_a_row_that_cannot_be_used_are_left_out(bad, tmp_path):
    lines = HEAD + rising(5) + bad + "\n" + rising(6, "ok", 6)
    folder = write_table(tmp_path / "d", lines, windows_of(4))
    found, left = starts(folder)
    assert found == [0, 8]
    assert [each.sentence.split(" line 7 ")[0] for each in left] == ["a.csv: lines 6 to 9:"]


def test_rows_of_an_unknown_label_are_named_and_end_a_recording(tmp_path):
    lines = HEAD + rising(4) + rising(2, "break", 4) + rising(4, "ok", 6)
    found, left = starts(write_table(tmp_path / "d", lines, windows_of(4)))
    assert found == [0, 6]
    assert [each.reason for each in left] == [Reason.LABEL] * 2


def test_no_window_goes_from_one_file_into_the_next(tmp_path):
    folder = write_table(tmp_path / "d", HEAD + rising(6), windows_of(4))
    write_table(folder, HEAD + rising(6, start=6), windows_of(4), name="b.csv")
    assert starts(folder)[0] == [0, 6]


def test_leaving_a_row_out_changes_no_window_of_another_recording(tmp_path):
    lines = [*(f"{at},50,ok" for at in range(8)), *(f"{at},50,fault" for at in range(8, 16))]
    whole = write_table(tmp_path / "a", HEAD + "\n".join(lines), windows_of(4))
    less = write_table(tmp_path / "b", HEAD + "\n".join(lines[1:]), windows_of(4))
    tails = [kinds.infer(path).read(path).values[-2:] for path in (whole, less)]
    assert tails[0].tobytes() == tails[1].tobytes()


def test_windows_come_as_arrays_too(tmp_path):
    folder = write_table(tmp_path / "d", schema=windows_of(4))
    (folder / "a.csv").unlink()
    raw = np.zeros((3, 4, 2))
    raw[1, 2, 0] = np.inf
    np.savez(folder / "a.npz", X=raw, y=np.array([0, 1, 1]))
    found = kinds.infer(folder).read(folder)
    assert found.values.shape == (2, 4, 2)
    assert found.targets.tolist() == [0, 1]
