"""LINE.toml: over which lines things are counted, which way is wrong, and when something has stopped."""

from typing import Annotated, Self

from pydantic import Field, Strict, StringConstraints, model_validator

from edgeveil.agent.inference.video.counting import Line, Stopping
from edgeveil.shared.base.config import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=40)]
Point = tuple[Share, Share]
MOST_LINES = 50


class LineSection(Settings):
    """`start` and `end` in shares of the frame's width and height, from its left upper corner."""

    name: Name
    start: Point
    end: Point
    ways: tuple[Name, Name] = ("forth", "back")
    wrong: Annotated[str, Strict()] = ""
    labels: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end are the same point")
        if self.ways[0] == self.ways[1]:
            raise ValueError("both ways have one name")
        if self.wrong and self.wrong not in self.ways:
            raise ValueError(f"wrong is one of ways ({', '.join(self.ways)}), or empty")
        return self

    def as_line(self) -> Line:
        return Line(self.name, self.start, self.end, self.ways, self.wrong, self.labels)


class StoppedSection(Settings):
    after_s: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    within: Annotated[float, Field(gt=0, le=10)] = 0.3
    labels: tuple[Name, ...] = ()


class LineFile(Settings):
    """At least one line, or what has stopped."""

    line: tuple[LineSection, ...] = Field(default=(), max_length=MOST_LINES)
    stopped: StoppedSection | None = None

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        names = [each.name for each in self.line]
        if len(set(names)) != len(names):
            raise ValueError("two lines have one name")
        if not names and self.stopped is None:
            raise ValueError("neither [[line]] nor [stopped]: nothing would be counted")
        return self

    def lines(self) -> tuple[Line, ...]:
        return tuple(each.as_line() for each in self.line)

    def stopping(self) -> Stopping | None:
        if self.stopped is None:
            return None
        return Stopping(self.stopped.after_s, self.stopped.within, self.stopped.labels)
