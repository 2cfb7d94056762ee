"""Following and counting, without a picture: what crosses which line, which way, and what stands still."""

import numpy as np
import pytest
from moving_bench import HIGH, RATE, WIDE, Sloppy, street

from edgeveil.agent.inference.video.counting import Counter, Line, Stopping
from edgeveil.agent.inference.video.tracking import Found, Settings, Tracker

MIDDLE = Line("middle", (0.5, 0.0), (0.5, 1.0), ("left", "right"))
SIZE = (100, 100)


def box(x, y, side=10, label="car", score=0.9):
    return Found(label, score, (x - side / 2, y - side / 2, x + side / 2, y + side / 2))


def walk(places, lines=(MIDDLE,), stopping=None, step_s=0.1, settings=None):
    """`places`: the detections of each frame."""
    tracker, counter = Tracker(settings), Counter(lines, stopping)
    numbers = set()
    for at, found in enumerate(places):
        tracks = tracker.update(found, at * step_s)
        numbers |= {track.number for track in tracks}
        counter.update(tracks, at * step_s, SIZE)
    return counter, numbers


def across(y=50, start=10, end=90, step=4, **more):
    way = 1 if end > start else -1
    return [[box(x, y, **more)] for x in range(start, end, way * step)]


def test_one_thing_is_one_track_and_crosses_once_in_its_direction():
    counter, numbers = walk(across())
    assert len(numbers) == 1
    assert (counter.tallies[0].of("right"), counter.tallies[0].of("left")) == (1, 0)
    counter, _ = walk(across(start=90, end=10))
    assert (counter.tallies[0].of("right"), counter.tallies[0].of("left")) == (0, 1)
    (event,) = counter.events
    assert (event.kind, event.line, event.way, event.label) == ("crossed", "middle", "left", "car")


def test_the_names_of_the_ways_follow_the_direction_of_the_line():
    flat = Line("flat", (0.0, 0.5), (1.0, 0.5), ("down", "up"))
    counter, _ = walk([[box(50, y)] for y in range(10, 90, 4)], lines=(flat,))
    assert (counter.tallies[0].of("down"), counter.tallies[0].of("up")) == (1, 0)
    turned = Line("flat", (1.0, 0.5), (0.0, 0.5), ("up", "down"))
    counter, _ = walk([[box(50, y)] for y in range(10, 90, 4)], lines=(turned,))
    assert (counter.tallies[0].of("down"), counter.tallies[0].of("up")) == (1, 0)


def test_beyond_the_ends_of_a_line_nothing_is_counted():
    short = Line("short", (0.5, 0.0), (0.5, 0.3))
    assert walk(across(y=50), lines=(short,))[0].events == []
    assert len(walk(across(y=20), lines=(short,))[0].events) == 1


def test_shaking_on_the_line_counts_nothing_and_going_back_counts_both_ways():
    shaking = [[box(50 + (at % 2) * 0.8 - 0.4, 50)] for at in range(60)]
    assert walk(shaking)[0].events == []
    there_and_back = across() + across(start=86, end=10)
    counter, numbers = walk(there_and_back)
    assert len(numbers) == 1
    assert (counter.tallies[0].of("right"), counter.tallies[0].of("left")) == (1, 1)


def test_a_few_frames_without_a_sighting_lose_nothing():
    places = across()
    for at in (8, 9, 10, 11):  # on the line
        places[at] = []
    counter, numbers = walk(places)
    assert len(numbers) == 1
    assert counter.tallies[0].of("right") == 1


def test_two_that_pass_each_other_stay_two():
    places = [a + b for a, b in zip(across(y=45), across(y=56, start=90, end=10), strict=True)]
    counter, numbers = walk(places)
    assert len(numbers) == 2
    assert (counter.tallies[0].of("right"), counter.tallies[0].of("left")) == (1, 1)


def test_two_boxes_on_one_thing_are_one():
    doubled = [[*found, box(20 + at * 4, 51, side=11, label="bus", score=0.6)] for at, found in enumerate(across(start=20))]  # fmt: skip
    counter, numbers = walk(doubled)
    assert len(numbers) == 1
    assert counter.tallies[0].counts == {("right", "car"): 1}


def test_what_is_seen_once_or_hardly_is_not_believed():
    assert walk([[box(10, 10)], [], [box(80, 80)], []])[1] == set()
    assert walk(across(score=0.2))[1] == set()


def test_a_thing_is_what_it_was_taken_for_most_surely():
    places = across()
    places[3] = [box(22, 50, label="truck", score=0.5)]
    counter, numbers = walk(places)
    assert len(numbers) == 1
    assert counter.tallies[0].counts == {("right", "car"): 1}


def test_some_classes_alone_can_be_counted():
    line = Line("trucks", (0.5, 0.0), (0.5, 1.0), labels=("truck",))
    assert walk(across(), lines=(line,))[0].events == []
    assert len(walk(across(label="truck"), lines=(line,))[0].events) == 1


def test_the_wrong_way_is_told():
    line = Line("one way", (0.5, 0.0), (0.5, 1.0), ("left", "right"), wrong="left")
    counter, _ = walk(across(start=90, end=10), lines=(line,))
    assert counter.wrong == 1
    assert [event.kind for event in counter.events] == ["wrong way"]
    assert walk(across(), lines=(line,))[0].wrong == 0


def test_what_stands_still_is_told_once_and_again_after_it_has_moved():
    still = [[box(20 + (at % 3) * 0.5, 50)] for at in range(60)]
    rule = Stopping(after_s=2.0)
    counter, _ = walk(still, lines=(), stopping=rule)
    assert [(event.kind, event.track) for event in counter.events] == [("stopped", 1)]
    assert counter.events[0].at_s == pytest.approx(2.2, abs=0.21)
    again = still + across(start=20, end=80) + [[box(80, 50)] for _ in range(60)]
    assert walk(again, lines=(), stopping=rule)[0].stopped == 2
    assert walk(across(), lines=(), stopping=rule)[0].stopped == 0


def test_minutes_are_counted_apart():
    places = [*across(), *[[] for _ in range(700)], *across()]
    counter, _ = walk(places)
    assert counter.tallies[0].minutes == {("right", 0): 1, ("right", 1): 1}


def test_the_same_boxes_give_the_same_tracks():
    made = street(3, seconds=30)
    runs = []
    for _ in range(2):
        tracker, detect = Tracker(), Sloppy(made, seed=3)
        runs.append(
            [
                (track.number, track.label, *track.corners.tolist())
                for at in range(made.frames)
                for track in tracker.update(detect(at / RATE), at / RATE)
            ]
        )
    assert runs[0] == runs[1]


def test_a_flood_of_boxes_is_bounded():
    random = np.random.default_rng(1)
    tracker = Tracker(Settings(most=50))
    for at in range(5):
        found = [box(*random.uniform(0, 1e4, 2)) for _ in range(2000)]
        assert len(tracker.update(found, at * 0.1)) <= 50


@pytest.mark.parametrize("every", [1, 2])
def test_on_a_street_counts_are_wrong_by_at_most_a_twentieth(every):
    """A detector of perfect boxes, shaken by 8 %, that misses 15 % and sees one in ten frames what is not there."""
    wrong, there = 0, 0
    for seed in (11, 12, 13):
        made = street(seed)
        tracker, counter, detect = Tracker(), Counter([MIDDLE]), Sloppy(made, seed)
        for at in range(0, made.frames, every):
            now_s = at / RATE
            counter.update(tracker.update(detect(now_s), now_s), now_s, (WIDE, HIGH))
        for way, true in zip(("right", "left"), made.crossings(), strict=True):
            wrong += abs(counter.tallies[0].of(way) - true)
            there += true
    assert there > 80
    assert wrong / there <= 0.05
