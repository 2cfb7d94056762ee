"""A command line that imports the module of a command when this command is named, and all of them for its help."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

# By name: "module:attribute" of a function, or of an app whose commands belong under that name.
Places = Mapping[str, str]


class Lazily(TyperGroup):
    """Derive with `places`; commands that the app has itself come first."""

    places: ClassVar[Places] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        for name in self.places:
            self._load(name)
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.places:
            self._load(cmd_name)
        elif cmd_name not in self.commands:  # what was meant may be among the others
            self.list_commands(ctx)
        return super().get_command(ctx, cmd_name)

    def _load(self, name: str) -> None:
        if name not in self.commands:
            module, _, attribute = self.places[name].partition(":")
            self.commands[name] = _built(name, getattr(import_module(module), attribute))


def _built(name: str, found: typer.Typer | Callable[..., Any]) -> Any:
    if isinstance(found, typer.Typer):
        made: Any = typer.main.get_group(found)
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(found)
        made = typer.main.get_command(alone)
    made.name = name
    return made
