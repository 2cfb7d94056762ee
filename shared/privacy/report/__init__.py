"""What both sides' privacy reports are made of: words, page, burn-down, the two figures of noise in shares."""

__all__ = ["chart", "page", "sections", "two_figures", "words"]
