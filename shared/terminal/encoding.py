"""Consoles that are not UTF-8: what they cannot show is spelled in ASCII, and nothing fails because of it.

One error handler for both streams of the process; JSON has an escape of its own for every character.
"""

import codecs
import io
import json
import re
import sys
import unicodedata
from typing import TextIO

HANDLER = "edgeveil.spelled"
ASCII = (
    "edgeveil_ascii"  # by its own name click takes it for a mistake and writes UTF-8 all the same
)
SPELLED = {
    "…": "...", "–": "-", "—": "-", "−": "-", "─": "-", "━": "-", "│": "|", "→": "->", "←": "<-",
    "≠": "!=", "≤": "<=", "≥": ">=", "±": "+/-", "×": "x", "·": "*", "•": "*", "√": "sqrt", "∞": "inf",
    "ε": "epsilon", "δ": "delta", "σ": "sigma", "γ": "gamma", "η": "eta", "μ": "mu", "µ": "mu", "Σ": "sum",
    "“": '"', "”": '"', "‘": "'", "’": "'", "✓": "ok", "✔": "ok", "✗": "x", "ß": "ss", "\ufffd": "?",
}  # fmt: skip
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def fit_streams() -> None:
    """Let standard output and error spell what their encoding lacks; call it before anything is written."""
    codecs.register_error(HANDLER, _spell)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            plain = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=ASCII if plain else stream.encoding, errors=HANDLER)


def fit_json(text: str, stream: TextIO) -> str:
    """The same JSON in characters that the stream has: the others stand inside strings, as escapes."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    return text


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name != ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        streamreader=known.streamreader,
        streamwriter=known.streamwriter,
        incrementalencoder=known.incrementalencoder,
        incrementaldecoder=known.incrementaldecoder,
        name=ASCII,
    )


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(SPELLED.get(each) or _nearest(each) for each in lacking), error.end


def _nearest(char: str) -> str:
    """An accented letter without its accent, or a question mark."""
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return plain or "?"
