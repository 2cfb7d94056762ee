"""plan.tuned.toml: the plan as it was written, with the values that were best."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeveil.shared.base.config import read_toml
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.pages.text import plain

HEAD = "# Written by `coordinator tune`"


def check_output(path: Path) -> None:
    """Raise ConfigError for a file that somebody wrote by hand."""
    if path.exists() and not path.read_text("utf-8", errors="replace").startswith(HEAD):
        raise ConfigError(
            f"{path} exists and was not written by coordinator tune; choose another --output"
        )


def write_tuned(output: Path, source: Path, values: Mapping[str, Any], about: str) -> None:
    """`source` with `values` by dotted keys; names of files stay as they are written, so `output` is beside it."""
    whole = read_toml(source)
    for name, value in values.items():
        *sections, key = name.split(".")
        inner = whole
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    head = f"{HEAD} from {plain(source.name)}: {plain(about, 1000)}\n"
    write_atomic(output, (head + rendered(whole)).encode(), mode=0o644)


def rendered(values: Mapping[str, Any], prefix: str = "") -> str:
    """TOML of tables, strings, numbers, truth values and lists of such."""
    plain_keys = {k: v for k, v in values.items() if not isinstance(v, dict)}
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in plain_keys.items()]
    text = (f"\n[{prefix}]\n" if prefix and (lines or not values) else "") + "".join(lines)
    for key, inner in values.items():
        if isinstance(inner, dict):
            text += rendered(inner, f"{prefix}.{_key(key)}" if prefix else _key(key))
    return text


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
