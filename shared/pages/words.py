"""The words of pages: a file per language and room, such as coordinator/reports/words.zh.toml.

Such a file holds `key = "text with {gaps}"`; those here hold what every page says, the language's own
name and its tag for HTML. A new language is one entry in Language and a translated file beside each
English one; tests/unit/shared/pages/test_words.py compares the files with each other and with the code.
"""

import tomllib
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


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

    def headings(self, *keys: str) -> list[str]:
        """Of a table; what begins with ">" stands above numbers."""
        return [key[: key.startswith(">")] + self(key.removeprefix(">")) for key in keys]

    def __contains__(self, key: str) -> bool:
        return key in self._texts


@cache
def _texts(room: str, language: Language) -> dict[str, str]:
    return tomllib.loads(files(room).joinpath(f"words.{language}.toml").read_text("utf-8"))
