"""What both command lines share: tables, errors, progress, and what a process says on standard error."""

__all__ = ["argv", "console", "door", "lazily", "progress", "telling", "views"]
