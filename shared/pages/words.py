"""The words of pages: a file per language and room, such as coordinator/reports/words.zh.toml.

Such a file holds `key = "text with {gaps}"`; those here hold what every page says, the language's own
name and its tag for HTML. A new language is one entry in Language and a translated file beside each
English one; tests/unit/shared/pages/test_words.py compares the files with each other and with the code.
"""

import re
import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
SAID = "said_"


class Words:
    """Looked up by key; `words("round_of", round=1, count=3)` fills in what stands in braces.

    A room with words of its own has a subclass that names the package of its files.
    """

    room: ClassVar[str] = __package__

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = _texts(__package__, language) | _texts(self.room, language)

    def __call__(self, key: str, **values: object) -> str:
        text = self._texts[key]
        return text.format(**values) if values else text

    def again(self, sentence: str) -> str:
        """A sentence that was made of this room's English words, in this language; any other as it is.

        Reports are signed in English whatever the language of their page. The words of such sentences have
        keys that begin with SAID; what fills their gaps may be such a sentence again.
        """
        if self.language == "en":
            return sentence
        for key, pattern in _patterns(self.room).items():
            if match := pattern.fullmatch(sentence):
                return self(
                    key, **{gap: self.again(text) for gap, text in match.groupdict().items()}
                )
        return sentence

    def headings(self, *keys: str) -> list[str]:
        """Of a table; what begins with ">" stands above numbers."""
        return [key[: key.startswith(">")] + self(key.removeprefix(">")) for key in keys]

    def __contains__(self, key: str) -> bool:
        return key in self._texts


@cache
def _patterns(room: str) -> Mapping[str, re.Pattern[str]]:
    """What fits each English sentence of a report, whatever fills its gaps; each gap is named once."""
    found = {}
    for key, text in _texts(room, "en").items():
        if key.startswith(SAID):
            parts = string.Formatter().parse(text)
            made = "".join(
                re.escape(t) + (f"(?P<{gap}>.*?)" if gap else "") for t, gap, _, _ in parts
            )
            found[key] = re.compile(made, re.DOTALL)
    return found


@cache
def _texts(room: str, language: Language) -> dict[str, str]:
    return tomllib.loads(files(room).joinpath(f"words.{language}.toml").read_text("utf-8"))
