"""Debian's Chromium, driven by Playwright; tests that need it skip where it is absent."""

import io
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

CHROMIUM = Path(os.environ.get("EDGEVEIL_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Every piece of text, its colour, the colour behind it and its size; SVG text is painted with `fill`.
TEXTS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return getComputedStyle(document.documentElement).colorScheme;
  };
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "NOSCRIPT", "title"].includes(element.tagName)) continue;
    if (!element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    found.push([text.slice(0, 40), colour, behind(element), parseFloat(style.fontSize), style.fontWeight]);
  }
  return found;
}"""
FOCUSABLE = "a[href], summary, [tabindex='0']"
PATIENCE_MS = (
    120_000.0  # of whoever waits for the browser, which may share two cores with much else
)


def needs_chromium():
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent; on Debian: apt-get install chromium")


@contextmanager
def browsing():
    """A browser; close every context before it ends."""
    needs_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=FLAGS, timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """One page that remembers what went wrong on it: console errors, exceptions, requests elsewhere."""

    def __init__(self, browser, *, width, scheme="light", javascript=True, tls=True):
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme,
            java_script_enabled=javascript, ignore_https_errors=not tls,
        )  # fmt: skip
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.width = width
        self.errors, self.requests = [], []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type in {"error", "warning"} else None)  # fmt: skip
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def ask(self, expression):
        """What it evaluates to; asked again when the page was being replaced by itself, reloaded."""
        from playwright.sync_api import Error

        until = time.monotonic() + PATIENCE_MS / 1000
        while True:
            try:
                return self.page.evaluate(expression)
            except Error as error:
                if "context was destroyed" not in str(error) or time.monotonic() > until:
                    raise

    def await_text(self, selector, text):
        """Wait until that part of the page says so, whether or not it is reloaded or replaced meanwhile."""
        self.page.locator(selector, has_text=text).first.wait_for()

    def check(self, origin):
        """Nothing went wrong, nothing came from elsewhere, nothing sticks out sideways."""
        assert self.errors == []
        foreign = [url for url in self.requests if not url.startswith((origin, "data:,"))]
        assert foreign == []
        assert self.ask("document.documentElement.scrollWidth") <= self.width

    def photograph(self, name):
        """The whole page as a picture, kept where EDGEVEIL_SCREENSHOTS says; a blank one is a failure."""
        picture = self.page.screenshot(full_page=True)
        with Image.open(io.BytesIO(picture)) as seen:
            assert seen.width == self.width
            assert len(seen.convert("L").getcolors(maxcolors=256)) > 16
        if folder := os.environ.get("EDGEVEIL_SCREENSHOTS"):
            Path(folder, f"{name}-{self.width}.png").write_bytes(picture)

    def check_contrast(self):
        """WCAG 2.2 AA: 4.5 to 1, or 3 to 1 for large text."""
        texts = self.ask(TEXTS)
        assert len(texts) > 10
        for text, colour, behind, size, weight in texts:
            large = size >= 24 or (size >= 18.66 and int(weight) >= 700)
            ratio = contrast(rgb(colour), rgb(behind))
            assert ratio >= (3 if large else 4.5), f"{text!r}: {colour} on {behind} is {ratio:.2f}"

    def check_keyboard(self):
        """Tab reaches everything that can be used or scrolled, and shows where it is."""
        wanted = self.ask(
            f'[...document.querySelectorAll("{FOCUSABLE}")].filter((e) => e.checkVisibility()).length'
        )
        self.page.evaluate("document.body.focus()")
        seen = 0
        for _ in range(wanted):
            self.page.keyboard.press("Tab")
            seen += self.page.evaluate(
                f'document.activeElement.matches("{FOCUSABLE}") '
                '&& getComputedStyle(document.activeElement).outlineStyle !== "none"'
            )
        assert seen == wanted > 3

    def close(self):
        self.context.close()


def rgb(text):
    numbers = text[text.index("(") + 1 : text.index(")")].replace(",", " ").split()
    return [float(number) / 255 for number in numbers[:3]]


def contrast(first, second):
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
