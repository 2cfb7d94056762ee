import time

import pytest

from edgeveil.shared.data.tabular.columns import Column, Ranged, ranged


@pytest.mark.parametrize("text", ["temp [°C]", "temp", "Temp 2 [m/s²]", "a-b [%]"])
def test_a_column_reads_back_as_it_is_written(text):
    assert str(Column.parse(text)) == text


def test_names_and_units_are_compared_in_one_form():
    assert Column.parse("la\u0308rm [a\u0308]") == Column("l\u00e4rm", "\u00e4")


@pytest.mark.parametrize(
    "text",
    ["", " temp", "temp []", "temp [a", "a,b", "te\tmp", "temp [°C] ", "x" * 61, "temp [\n]"],
)
def test_refuses_what_cannot_name_a_column(text):
    with pytest.raises(ValueError, match=r"column|name"):
        Column.parse(text)


def test_columns_with_ranges_read_back_as_they_are_written():
    text = "ax [g] -8..8, temp [°C] -40.5..85, n 0..1e+06"
    found = ranged(text)
    assert [each.high for each in found] == [8, 85, 1e6]
    assert ranged(", ".join(str(each) for each in found)) == found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ax [g]", "name \\[unit\\] low..high"),
        ("ax [g] 8..-8", "no range"),
        ("ax [g] 1..1", "no range"),
        ("ax [g] 0..inf", "name \\[unit\\] low..high"),
        ("ax [g] 0..1e40", "no range"),
        ("ax [g] 1000000..1000000.5", "too close"),
        ("ax 0..1, ax [g] 0..1", "named twice"),
        ("ax 0..1,,ay 0..1", "name \\[unit\\] low..high"),
        (", ".join(f"c{at} 0..1" for at in range(257)), "at most 256"),
    ],
)
def test_refuses_columns_without_a_range_or_named_twice(text, fault):
    with pytest.raises(ValueError, match=fault):
        ranged(text)


def test_a_range_made_in_code_is_held_to_the_same():
    with pytest.raises(ValueError, match="no range"):
        Ranged(Column("a"), 1.0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "a " + "1" * 4090 + ".." + "1" * 4090 + "x",
        "a " + "1 " * 4090,
        ",".join(f"c{at} 0..1" for at in range(2000)),
        "a " + "." * 8000,
        "a [" * 2700,
    ],
)
def test_no_text_of_a_plan_takes_long_to_refuse(text):
    before = time.process_time()
    with pytest.raises(ValueError, match=r"column|written"):
        ranged(text)
    assert (
        time.process_time() - before < 0.2
    )  # minutes, where an expression tries every way to split
