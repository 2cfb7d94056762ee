"""The frame of every page: one file, no network, a content security policy that names each byte.

Styles and scripts are allowed by their SHA-256 alone; style attributes, event handlers, images (but for those
that a page of pictures holds in itself) and connections elsewhere are not allowed at all.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from edgeveil.shared.pages.text import escape
from edgeveil.shared.pages.words import LANGUAGES, Language, Words

REFRESH_S = 5


@cache
def style() -> str:
    return _resource("style.css")


@cache
def live_script() -> str:
    return _resource("live.js")


@cache
def policy(*, live: bool, pictures: bool = False) -> str:
    """The page's Content-Security-Policy; a live page may run one script and ask its own server.

    `pictures`: those that stand in the page itself may be shown.
    """
    rules = ["default-src 'none'", f"style-src '{digest(style())}'"]
    if live:
        rules += [f"script-src '{digest(live_script())}'", "connect-src 'self'"]
    if live or pictures:
        rules.append("img-src data:")
    rules += ["base-uri 'none'", "form-action 'none'"]
    return "; ".join(rules)


def document(
    language: Language, title: str, body: str, *, live: bool = False, pictures: bool = False
) -> str:
    """A complete page. A live one follows its server by script, or by reloading without one."""
    rules = policy(live=live, pictures=pictures)
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(rules, 2000)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>",
        f"<style>{style()}</style>",
    ]
    if live:
        head.append('<link rel="icon" href="data:,">')  # or the browser would ask for one
        head.append(
            f'<noscript><meta http-equiv="refresh" content="{REFRESH_S}"></noscript>'
            f"<script>{live_script()}</script>"
        )
    lines = "\n".join(head)
    return (
        f'<!doctype html>\n<html lang="{Words(language)("tag")}">\n<head>\n{lines}\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def live_document(words: Words, title: str, head: str, main: str, foot: str = "") -> str:
    """A page that follows its server; `head`, `main` and `foot` are HTML, `title` is text.

    Besides the words of every page the room has `contents`, `connection_lost` and `follows`.
    """
    links = "".join(
        f'<a href="?lang={one}" lang="{one}" hreflang="{one}">{escape(Words(one)("language"))}</a>'
        for one in LANGUAGES
        if one != words.language
    )
    body = (
        f'<a class="skip" href="#main">{escape(words("skip"))}</a><header>{head}'
        f'<p id="connection" class="bad" role="status" data-lost="{escape(words("connection_lost"))}"></p>'
        f'<nav aria-label="{escape(words("contents"))}">{links}'
        f'<a href="metrics">{escape(words("metrics"))}</a></nav></header>'
        f'<main id="main">{main}</main>'
        f"<footer>{foot}<p>{escape(words('follows', s=REFRESH_S))}</p></footer>"
    )
    return document(words.language, f"{title} · Edgeveil", body, live=True)


def _resource(name: str) -> str:
    return files("edgeveil.shared.pages").joinpath(name).read_text(encoding="utf-8")


def digest(content: str) -> str:
    """As a content security policy names a style sheet or a script."""
    found = hashlib.sha256(content.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(found).decode("ascii")
