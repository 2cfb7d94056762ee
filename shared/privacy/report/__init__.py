"""What both sides' privacy reports are made of: words, page, burn-down."""

__all__ = ["chart", "page", "sections", "words"]
