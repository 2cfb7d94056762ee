"""Text from anywhere, made harmless for a page or a terminal."""

import html
import unicodedata
from datetime import UTC, datetime

SHOWN = 300  # characters of one text; a page is not a place for a novel


def plain(text: str, most: int = SHOWN) -> str:
    """One line without control characters, invisible characters or changes of direction.

    Escape sequences and bidirectional overrides can make a terminal or a page show something else
    than what is written; each such character becomes U+FFFD.
    """
    spaced = " ".join(text.split())
    shown = "".join("\ufffd" if unicodedata.category(c)[0] == "C" else c for c in spaced)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def harmless(text: str) -> str:
    """As many characters, each printable: control, invisible and direction ones become U+FFFD, line ends too."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else "\ufffd" for c in text
    )


def escape(text: object, most: int = SHOWN) -> str:
    """Any value as text between tags or inside a quoted attribute."""
    return html.escape(plain(str(text), most), quote=True)


def utc(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A Unix time as people read it; `form` as of strftime()."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime(form)


def human_bytes(count: float) -> str:
    """A size in powers of 1000 with its unit."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def human_seconds(seconds: float) -> str:
    """A length of time in the two largest units that matter, which are the same in every language."""
    whole = max(1, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 600 else f"{hours} h"


def short(value: float) -> str:
    """At most four significant digits, without an exponent where that is readable."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:.2e}"
