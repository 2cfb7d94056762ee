"""Web pages without a framework: text in, one self-contained HTML document out (docs/design.md, "Pages")."""

__all__ = [
    "charts",
    "document",
    "door",
    "markup",
    "openmetrics",
    "server",
    "svg",
    "text",
    "views",
    "words",
]
