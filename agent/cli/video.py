"""`agent predict` of a video with a detector: what moves is followed, counted and drawn."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeveil.agent.inference.runtime import Model
    from edgeveil.agent.inference.video.counting import Event
    from edgeveil.agent.inference.video.frames import Pace
    from edgeveil.agent.inference.video.watching import Watch


def is_watched(inputs: "Sequence[str]", count: Path | None, draw: Path | None) -> bool:
    """Whether one video is to be counted or drawn; raises ConfigError for more, or for what is none."""
    from edgeveil.agent.inference.video.frames import SUFFIXES, is_video
    from edgeveil.shared.base.errors import ConfigError

    videos = [each for each in inputs if is_video(each)]
    if count is None and not (draw is not None and videos):
        return False
    if len(inputs) != 1 or not videos:
        raise ConfigError("--count, and --draw of a video: name one video and nothing else")
    if draw is not None and not draw.name.lower().endswith(SUFFIXES[0]):
        raise ConfigError(f"--draw {draw}: a video is drawn into a file that ends in {SUFFIXES[0]}")
    return True


def watch(
    model: "Model",
    name: str,
    pace: "Pace",
    *,
    count: Path | None,
    draw: Path | None,
    least_score: float,
    as_json: bool,
    happened: "Callable[[Event], None]" = lambda _: None,
) -> None:
    """Print events as they happen, and counts at the end, also after an interruption; `happened` gets each event too.

    Raises:
        ConfigError: the model finds no boxes, or a file of the owner is wrong.
        DataError: no video, or one that ends too early, after all results until there.
    """
    from edgeveil.agent.inference.predicting import frame_finder
    from edgeveil.agent.inference.video.cameras import without_secrets
    from edgeveil.agent.inference.video.line_file import LineFile
    from edgeveil.agent.inference.video.tracking import Settings
    from edgeveil.agent.inference.video.watching import Wanted, Watch
    from edgeveil.shared.base.config import load
    from edgeveil.shared.base.errors import DataError

    lines = None if count is None else load(count, LineFile)
    wanted = Wanted(pace, lines, draw, Settings(least_score=least_score))
    watched = Watch(name, frame_finder(model), wanted)
    tell = _tell_json if as_json else _tell
    shown = without_secrets(name)
    try:
        for seen in watched:
            for event in seen.events:
                happened(event)
                tell(shown, event)
    except KeyboardInterrupt:
        console.stderr.print("interrupted: the results go so far")
    _summarise(shown, watched, as_json=as_json)
    if watched.problem:
        raise DataError(watched.problem)


def _tell(_name: str, event: "Event") -> None:
    where = f" {event.line}: {event.way}" if event.line else ""
    console.stdout.print(f"{event.at_s:9.2f} s  {event.kind}{where} ({event.label} {event.track})")


def _tell_json(name: str, event: "Event") -> None:
    values: dict[str, Any] = {
        "input": name,
        "event": event.kind,
        "at_s": round(event.at_s, 3),
        "label": event.label,
        "track": event.track,
    }
    if event.line:
        values |= {"line": event.line, "way": event.way}
    _write(values)


def _summarise(name: str, watched: "Watch", *, as_json: bool) -> None:
    found = watched.as_json()
    if as_json:
        _write({"input": name, "counted": found})
        return
    made = console.table("Counted", "line", "way", ">count", ">a minute", "classes")
    minutes = max(found["seconds"] / 60, 1e-9)
    for line in found["lines"]:
        for way, counts in line["ways"].items():
            classes = ", ".join(f"{label} {n:,}" for label, n in counts["by_class"].items())
            rate = f"{counts['count'] / minutes:.1f}" if found["seconds"] else "–"
            made.add_row(line["name"], way, f"{counts['count']:,}", rate, classes)
    if found["lines"]:
        console.stdout.print(made)
    console.stdout.print(
        f"{found['frames']:,} frames of {found['seconds']:.1f} s, {found['wrong_way']:,} the wrong way, "
        f"{found['stopped']:,} stopped"
    )


def _write(values: dict[str, Any]) -> None:
    from edgeveil.shared.base.json_text import readable

    console.write_json([readable(values, tight=True), "\n"])
