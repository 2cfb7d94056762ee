"""The words of the device's own page: words.en.toml, words.zh.toml."""

from edgeveil.shared.pages import words


class Words(words.Words):
    room = __package__
