"""Build the wheel twice, compare, install it into a clean environment and use it from another folder.

Light environment: the base dependencies only, so that --help, budget and the missing-extra message
are tried as a thin device would meet them.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"agent", "coordinator", "shared"}
GUARD = (
    "import importlib.metadata as m;"
    "owners = m.packages_distributions();"
    "assert all(set(owners[p]) == {'edgeveil'} for p in ('agent', 'coordinator', 'shared')), owners"
)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = (build(folder / which) for which in ("a", "b"))
        check(digest(first) == digest(second), "two builds of the same commit give the same bytes")
        check(
            top_levels(first) <= PACKAGES | {dist_info(first)},
            f"only {sorted(PACKAGES)} are in the wheel",
        )
        check_light_install(first, folder / "light")
    print("wheel: reproducible, installable, usable without torch")
    return 0


def build(out: Path) -> Path:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    source = out / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for relative in filter(None, files.decode().split("\0")):
        target = source / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / relative).read_bytes())
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(source),
    ]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def check_light_install(wheel: Path, folder: Path) -> None:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *constraints,
            str(wheel),
        ],
        folder,
    )
    empty = folder / "elsewhere"
    empty.mkdir()
    for role in ("coordinator", "agent"):
        found = run([str(folder / "bin" / role), "--help"], empty)
        check("Usage:" in found.stdout, f"{role} --help answers from another folder")
    run([str(python), "-c", GUARD], empty)
    home = ["--home", str(empty / "home")]
    missing = run(
        [
            str(folder / "bin" / "coordinator"),
            "init",
            "--url",
            "https://a:1",
            "--no-passphrase",
            *home,
        ],
        empty,
        expect=69,
    )
    check(
        'pip install "edgeveil[serve]"' in missing.stderr, "a command that lacks an extra names it"
    )
    check("Traceback" not in missing.stderr, "and shows no traceback")
    nobody = run([str(folder / "bin" / "agent"), "budget", *home], empty, expect=77)
    check("no agent lives here" in nobody.stderr, "agent budget works without torch")


def run(command: list[str], folder: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "EDGEVEIL"))
    }
    found = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    check(
        found.returncode == expect,
        f"{command[0]} exits with {expect}: {found.stdout}{found.stderr}",
    )
    return found


def check(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"wheel check failed: {what}")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def top_levels(wheel: Path) -> set[str]:
    return {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}


def dist_info(wheel: Path) -> str:
    return "-".join(wheel.name.split("-")[:2]) + ".dist-info"


if __name__ == "__main__":
    sys.exit(main())
