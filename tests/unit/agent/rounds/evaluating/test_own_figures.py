"""A device's own figures: a bounded file that loses its oldest and never all."""

from dataclasses import replace

from edgeveil.agent.rounds.evaluating.own_figures import (
    FILE,
    KEPT,
    MOST_BYTES,
    OwnFigure,
    keep,
    read,
)

FEW = OwnFigure("run-1", 1, 1_700_000_000, "tabular", 12, {"accuracy": 0.5})


def test_the_newest_are_kept(tmp_path):
    for number in range(1, KEPT + 3):
        keep(tmp_path, replace(FEW, round=number))
    assert [each.round for each in read(tmp_path)] == list(range(3, KEPT + 3))


def test_figures_of_very_many_classes_push_out_old_ones_and_not_all(tmp_path):
    many = {f"f1/{number:04}": 0.123456789012345 for number in range(4000)}
    for number in range(1, 13):
        keep(tmp_path, replace(FEW, round=number, metrics=many))
    found = read(tmp_path)
    assert (tmp_path / FILE).stat().st_size <= MOST_BYTES
    assert len(found) > 1
    assert found[-1] == replace(FEW, round=12, metrics=many)


def test_a_damaged_file_is_begun_anew(tmp_path):
    (tmp_path / FILE).write_bytes(b"[{")
    assert read(tmp_path) == []
    keep(tmp_path, FEW)
    assert read(tmp_path) == [FEW]
