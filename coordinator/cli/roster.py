"""`coordinator roster`: export, sign (where the federation key is), import; and the key's passphrase."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from edgeveil.shared.terminal.console import HomeOption, home_of, stderr, stdout, table

app = typer.Typer(
    help="Who belongs to the federation: export, sign (where the federation key is), import.",
    no_args_is_help=True,
)
ROLE = "coordinator"

FederationOption = Annotated[
    Path | None,
    Option("--federation", help="Folder of the federation key [default: beside the home folder]."),
]
PassphraseFile = Annotated[
    Path | None,
    Option(
        "--passphrase-file",
        envvar="EDGEVEIL_PASSPHRASE_FILE",
        show_envvar=False,
        help="Read the federation key's passphrase from this file.",
    ),
]


EpochOption = Annotated[
    int | None,
    Option(
        "--epoch", help="A higher number than the next: agents hold newer rosters than a backup."
    ),
]


@app.command("export")
def roster_export(
    home: HomeOption = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="Write here instead of stdout.")
    ] = None,
    epoch: EpochOption = None,
) -> None:
    """Write the next roster, unsigned: every agent that has joined.

    Example: coordinator roster export -o roster.json
    """
    from edgeveil.coordinator.cli.operator import export_candidate

    candidate = export_candidate(home_of(ROLE, home), epoch)
    if output is None:
        stdout.lines(candidate.decode())
        return
    output.write_bytes(candidate)
    stderr.print(
        f"Wrote {output}. Sign it where the federation key is: coordinator roster sign {output}"
    )


@app.command("sign")
def roster_sign(
    file: Annotated[
        Path | None,
        Argument(
            help="An exported roster; without it, this home's own is exported, signed and imported."
        ),
    ] = None,
    home: HomeOption = None,
    federation: FederationOption = None,
    passphrase_file: PassphraseFile = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="Write the signed roster here [default: FILE].")
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    epoch: EpochOption = None,
    watch: Annotated[
        bool,
        Option("--watch", help="Go on signing whatever this home's running coordinator exports."),
    ] = False,
) -> None:
    """Sign a roster with the federation key. The only command that opens that key.

    Example: coordinator roster sign roster.json --federation /media/key/federation
    """
    from edgeveil.coordinator.cli.operator import export_candidate
    from edgeveil.coordinator.federation.roster_files import open_federation_key, sign_roster
    from edgeveil.shared.base.files import read_text

    folder = home_of(ROLE, home)
    keys = federation or folder.parent / "federation"
    if watch:
        _sign_and_watch(folder, keys, passphrase_file)
        return
    if file is not None and epoch is not None:
        raise typer.BadParameter(
            "the epoch of a file stands in it; give --epoch to `roster export`"
        )
    candidate = export_candidate(folder, epoch) if file is None else read_text(file).encode()
    _show_candidate(candidate)
    if not yes:
        typer.confirm("Admit exactly these agents?", abort=True, err=True)
    key = open_federation_key(keys, partial(read_passphrase, passphrase_file))
    signed = sign_roster(candidate, key)
    if file is None:
        _import_own(folder, signed)
        return
    target = output or file
    target.write_bytes(signed)
    stderr.print(f"Wrote {target}. On the coordinator: coordinator roster import {target}")


@app.command("import")
def roster_import(
    file: Annotated[Path, Argument(help="A roster signed with `coordinator roster sign`.")],
    home: HomeOption = None,
) -> None:
    """Put a signed roster into force.

    Example: coordinator roster import roster.json
    """
    from edgeveil.coordinator.cli.operator import import_signed
    from edgeveil.shared.base.files import read_text

    epoch = import_signed(home_of(ROLE, home), read_text(file).encode())
    stderr.print(f"Roster epoch {epoch} is in force.")


def _sign_and_watch(folder: Path, keys: Path, passphrase_file: Path | None) -> None:
    import threading

    from edgeveil.coordinator.federation.roster_files import open_federation_key, sign_roster
    from edgeveil.coordinator.serving.signer import watch

    key = open_federation_key(keys, partial(read_passphrase, passphrase_file))
    say = partial(stderr.print)
    watch(folder, lambda candidate: sign_roster(candidate, key), say, threading.Event())


def _import_own(folder: Path, signed: bytes) -> None:
    from edgeveil.coordinator.cli.operator import import_signed

    epoch = import_signed(folder, signed)
    stderr.print(
        f"Signed and imported roster epoch {epoch}. The federation key was on the coordinator's own"
    )
    stderr.print(
        "machine: whoever takes that machine over can admit members. Better: sign elsewhere."
    )


def _show_candidate(candidate: bytes) -> None:
    from edgeveil.coordinator.federation.roster_files import RosterFile

    shown = RosterFile.decode(candidate)
    made = table(f"Roster epoch {shown.roster.epoch}", "agent", "identity key (Ed25519)")
    for agent, public in sorted(
        shown.roster.members.items(), key=lambda item: shown.names.get(item[0], "")
    ):
        made.add_row(shown.names.get(agent, agent.hex()), public.hex())
    stderr.print(made)


def new_passphrase(file: Path | None) -> bytes:
    """Ask twice; an empty passphrase is refused."""
    from edgeveil.shared.base.errors import ConfigError

    first = read_passphrase(file, "New passphrase for the federation key: ")
    if file is None and first != read_passphrase(None, "Once more: "):
        raise ConfigError("the two passphrases differ; nothing was made")
    if not first:
        raise ConfigError(
            "an empty passphrase protects nothing; use --no-passphrase to store the key unencrypted"
        )
    return first


def read_passphrase(file: Path | None, prompt: str = "Federation key passphrase: ") -> bytes:
    import getpass
    import sys

    from edgeveil.shared.base.errors import ConfigError
    from edgeveil.shared.base.files import read_secret

    if file is not None:
        return read_secret(file).strip()
    if not sys.stdin.isatty():
        raise ConfigError(
            "no terminal to ask for the passphrase on; give --passphrase-file (or --no-passphrase to init)"
        )
    return getpass.getpass(prompt).encode()
