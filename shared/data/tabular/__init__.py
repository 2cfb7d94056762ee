"""Tables and windows of numbers: files of lines, or arrays, beside a schema.toml that says what they hold."""

__all__ = ["columns", "draft", "layout", "lines", "reading", "schema"]
