"""The words of the page of a study: words.en.toml, words.zh.toml."""

from edgeveil.shared.pages import words


class Words(words.Words):
    room = __package__
