"""The words of a run's privacy report: words.en.toml, words.zh.toml."""

from edgeveil.shared.pages import words


class Words(words.Words):
    room = __package__
