"""The two ε of noise in shares (docs/privacy.md, "Two figures"): their sentences and their bar, the same everywhere."""

from dataclasses import dataclass

from edgeveil.shared.pages.charts import both_key, meter
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.report.words import Words
from edgeveil.shared.privacy.unlimited import UNLIMITED, share, shown

FULL, HALF, EMPTY = "█▒░"
WIDTH = 20  # characters of the bar on a terminal


@dataclass(frozen=True, slots=True)
class TwoFigures:
    """`sums` is ε towards whoever sees only sums, `alone` towards everybody; each with its limit, infinite without one.

    `honest`: how many honest agents each sum has to hold for the first; None where plans of several h were charged.
    """

    sums: float
    sums_limit: float
    alone: float
    alone_limit: float
    honest: int | None = None

    @property
    def marks(self) -> tuple[float, float]:
        """Where the two stand on one bar, 0..1: that of sums first, never the greater.

        The bar ends at the limit of `alone`, or, without one, at `alone` itself.
        """
        end = self.alone if self.alone_limit == UNLIMITED else self.alone_limit
        alone = share(self.alone, end)
        return min(alone, share(self.sums, end)), alone

    def sentences(self, language: Language = "en", form: str = ".3g") -> tuple[str, str]:
        """What each says and when it holds: that of sums, that alone."""
        words = Words(language)
        return (
            _said(words, words("two_sums"), (self.sums, self.sums_limit), form)
            + holds_sums(self.honest, language),
            _said(words, words("two_alone"), (self.alone, self.alone_limit), form)
            + words("said_holds_alone"),
        )

    def bar(self, language: Language, *, calm: bool = False) -> str:
        """One bar with two marks and what they mean, in HTML; `calm` as of charts.meter."""
        words, (sums, alone) = Words(language), self.marks
        label = words("two_meter", sums=f"{sums:.0%}", alone=f"{alone:.0%}")
        return meter(alone, label, calm=calm, inner=sums) + both_key(
            self.sentences(language), alone, calm=calm
        )

    def blocks(self, width: int = WIDTH) -> str:
        """The same bar for a terminal: full up to the mark of sums, half up to the other."""
        sums, alone = (round(mark * width) for mark in self.marks)
        return FULL * sums + HALF * (alone - sums) + EMPTY * (width - alone)

    def lines(self) -> tuple[str, str]:
        """The sentences below such a bar, each with the mark that it is about."""
        sums, alone = self.sentences()
        return f"{FULL} {sums}", f"{HALF} {alone}"


def holds_sums(honest: int | None, language: Language = "en") -> str:
    """When the figure of sums holds, as a sentence of its own."""
    words = Words(language)
    if honest is None:
        return words("said_holds_sums", honest=words("said_honest_stated"))
    return words("said_holds_sums", honest=words("said_honest", n=honest))


def _said(words: Words, name: str, figure: tuple[float, float], form: str) -> str:
    value, limit = figure
    told = shown(value, form, words("two_not_limited"))
    if UNLIMITED in {value, limit}:
        return words("two_is", name=name, value=told)
    return words("two_of", name=name, value=told, limit=f"{limit:g}")
