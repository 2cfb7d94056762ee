"""TOML → frozen pydantic models, with every mistake named as file: key: value: rule.

Unknown keys, NaN and infinite numbers are mistakes. All mistakes of a file are shown at once.
"""

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import as_text
from edgeveil.shared.base.names import meant

MAX_FILE = 1 << 20  # bytes


class Settings(BaseModel):
    """Base of every configuration model: strict about keys, closed to NaN, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raises ConfigError naming the file and, where known, the line."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise ConfigError(
                f"{path}: larger than the {MAX_FILE} bytes a configuration file may have"
            )
        return tomllib.loads(as_text(path.read_bytes()))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: this file does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def load(path: Path, model: type[Model]) -> Model:
    """Read `path` as `model`; raises ConfigError with one line per mistake."""
    return validate(read_toml(path), model, source=str(path))


def validate(values: dict[str, Any], model: type[Model], *, source: str) -> Model:
    """Check `values` against `model`; `source` opens every line of the error."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(mistakes(error, model, source))) from error


def mistakes(error: ValidationError, model: type[BaseModel], source: str) -> list[str]:
    """One line per mistake, each with what may have been meant where a key is unknown."""
    return [describe(item, source, _keys(model, item["loc"][:-1])) for item in error.errors()]


def _keys(model: type[BaseModel], where: Iterable[object]) -> list[str]:
    """The keys of the section at `where`; none where that is no section of its own."""
    models = [model]
    for name in where:
        if "[" not in str(name) and not isinstance(name, int):
            fields = (each.model_fields.get(str(name)) for each in models)
            models = [kind for field in fields if field for kind in _models(field.annotation)]
    return [key for each in models for key in each.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation allows, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models(inner)]


def describe(item: Any, source: str, known: Iterable[str] = ()) -> str:
    """One pydantic error as `file: key: rule (got value)`."""
    # Where several types are allowed, pydantic puts its name of the type tried between the keys.
    keys = [str(part) for part in item["loc"] if "[" not in str(part)]
    key = ".".join(keys) or "(whole file)"
    key = key if key.isprintable() else repr(key)  # a key can be quoted text of any kind
    if item["type"] == "extra_forbidden":
        near = meant(keys[-1], known) if keys else ""
        return f"{source}: {key}: unknown key{near or '; check the spelling or remove it'}"
    if item["type"] == "missing":
        return f"{source}: {key}: required key is missing"
    rule = item["msg"].removeprefix("Value error, ").replace("tuple", "list")
    value = item.get("input")
    shown = f" (got {value!r})" if _printable(value) else ""
    return f"{source}: {key}: {rule[0].lower()}{rule[1:]}{shown}"


def _printable(value: object) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return True
    return isinstance(value, str | int | float | bool) and len(repr(value)) <= 60
