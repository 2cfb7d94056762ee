"""The `coordinator` command: parse, call one function, print. Heavy imports live inside commands."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from coordinator.agents_cli import app as agents_app
from coordinator.look_cli import app as look_app
from coordinator.look_cli import print_report
from shared.console import HomeOption, JsonOption, home_of, print_json, run, stderr, stdout, table

if TYPE_CHECKING:
    from coordinator.setup import Initialised

app = typer.Typer(
    help="Orchestrate training rounds across agents; learn only sums.\n\n"
    "Start with: coordinator init --url https://HOST:8443",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
roster_app = typer.Typer(
    help="Who belongs to the federation: export, sign (where the federation key is), import.",
    no_args_is_help=True,
)
app.add_typer(roster_app, name="roster")
app.add_typer(agents_app, name="agents")
app.add_typer(look_app)
ROLE = "coordinator"

FederationOption = Annotated[
    Path | None,
    typer.Option(
        "--federation", help="Folder of the federation key [default: beside the home folder]."
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="EDGEVEIL_PASSPHRASE_FILE",
        show_envvar=False,
        help="Read the federation key's passphrase from this file.",
    ),
]


def main() -> NoReturn:
    run(app, ROLE)


@app.command()
def init(
    url: Annotated[
        str, typer.Option("--url", help="What agents reach, e.g. https://fl.example.org:8443")
    ],
    home: HomeOption = None,
    listen: Annotated[str, typer.Option(help="host:port to listen on.")] = "0.0.0.0:8443",
    host: Annotated[
        list[str] | None, typer.Option(help="Further name or address for the certificate.")
    ] = None,
    federation: FederationOption = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool,
        typer.Option(
            "--no-passphrase",
            help="Store the federation key unencrypted (demo, or an encrypted disk).",
        ),
    ] = False,
    one_machine: Annotated[
        bool,
        typer.Option(
            "--one-machine",
            help="Keep the federation key here, unencrypted; `serve` has rosters signed by itself.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make keys, certificates, database and coordinator.toml.

    Example: coordinator init --url https://fl.example.org:8443
    """
    from coordinator.setup import initialise

    folder = home_of(ROLE, home)
    keys = federation or folder.parent / "federation"
    fresh = not (folder / "coordinator.toml").exists()
    encrypted = fresh and not no_passphrase and not one_machine
    passphrase = _new_passphrase(passphrase_file) if encrypted else None
    made = initialise(
        folder,
        keys.absolute(),
        url=url,
        listen=listen,
        hosts=tuple(host or ()),
        passphrase=passphrase,
        one_machine=one_machine,
    )
    _print_initialised(made, as_json=as_json)


@app.command()
def invite(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="One name per device, a-z 0-9 and '-'.")
    ],
    home: HomeOption = None,
    ttl: Annotated[str, typer.Option(help="How long a token is valid: 30m, 1h, 2d.")] = "1h",
    hold: Annotated[
        bool,
        typer.Option("--hold", help="Whoever joins waits for: coordinator agents approve NAME."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print one single-use token per device; hand each to its device over a trusted channel.

    Example: coordinator invite cam-1 cam-2 cam-3 --ttl 1h
    """
    from coordinator.commands import make_tokens, parse_ttl

    tokens = make_tokens(home_of(ROLE, home), names, parse_ttl(ttl), hold=hold)
    if as_json:
        print_json([{"name": name, "token": token} for name, token in tokens.items()])
        return
    for name, token in tokens.items():
        stderr.print(f"[bold]{name}[/] (valid for {ttl}, once):", end=" ")
        stdout.print(token, markup=False)
    stderr.print("On each device: agent run --join TOKEN --data PATH")


@roster_app.command("export")
def roster_export(
    home: HomeOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here instead of stdout.")
    ] = None,
) -> None:
    """Write the next roster, unsigned: every agent that has joined.

    Example: coordinator roster export -o roster.json
    """
    from coordinator.commands import export_candidate

    candidate = export_candidate(home_of(ROLE, home))
    if output is None:
        stdout.print(candidate.decode(), markup=False, end="")
        return
    output.write_bytes(candidate)
    stderr.print(
        f"Wrote {output}. Sign it where the federation key is: coordinator roster sign {output}"
    )


@roster_app.command("sign")
def roster_sign(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="An exported roster; without it, this home's own is exported, signed and imported."
        ),
    ] = None,
    home: HomeOption = None,
    federation: FederationOption = None,
    passphrase_file: PassphraseFile = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the signed roster here [default: FILE]."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Go on signing whatever this home's running coordinator exports."
        ),
    ] = False,
) -> None:
    """Sign a roster with the federation key. The only command that opens that key.

    Example: coordinator roster sign roster.json --federation /media/key/federation
    """
    from coordinator.roster_files import sign_with
    from shared.files import read_file

    folder = home_of(ROLE, home)
    keys = federation or folder.parent / "federation"
    if watch:
        _sign_and_watch(folder, keys, passphrase_file)
        return
    candidate = _own_candidate(folder) if file is None else read_file(file)
    _show_candidate(candidate)
    if not yes:
        typer.confirm("Admit exactly these agents?", abort=True, err=True)
    signed = sign_with(
        candidate, keys, lambda: _passphrase(passphrase_file, "Federation key passphrase: ")
    )
    if file is None:
        _import_own(folder, signed)
        return
    target = output or file
    target.write_bytes(signed)
    stderr.print(f"Wrote {target}. On the coordinator: coordinator roster import {target}")


@roster_app.command("import")
def roster_import(
    file: Annotated[Path, typer.Argument(help="A roster signed with `coordinator roster sign`.")],
    home: HomeOption = None,
) -> None:
    """Put a signed roster into force.

    Example: coordinator roster import roster.json
    """
    from coordinator.commands import import_signed
    from shared.files import read_file

    epoch = import_signed(home_of(ROLE, home), read_file(file))
    stderr.print(f"Roster epoch {epoch} is in force.")


@app.command()
def serve(
    home: HomeOption = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Queue this plan at once.")] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="Listen without TLS, on loopback only, behind a TLS proxy here."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Leave events out of standard error.")
    ] = False,
) -> None:
    """Run the coordinator until interrupted. Unfinished runs continue by themselves.

    Example: coordinator serve --plan plan.toml
    """
    from coordinator.serve import serve as serve_forever

    serve_forever(home_of(ROLE, home), plan, plain_http=plain_http, quiet=quiet)


@app.command("run")
def run_plan(
    plan: Annotated[Path, typer.Argument(help="A plan file, see deploy/samples.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    detach: Annotated[bool, typer.Option("--detach", help="Queue it and return.")] = False,
) -> None:
    """Queue a plan at the running coordinator and follow it; the same plan continues where it stopped.

    Example: coordinator run plan.toml
    """
    from coordinator.commands import follow_run, submit_plan

    folder = home_of(ROLE, home)
    submitted = submit_plan(folder, plan)
    stderr.print(f"run [bold]{submitted['run']}[/] {'queued' if submitted['new'] else 'continues'}")
    for notice in submitted["warnings"]:
        stderr.print(f"[yellow]warning:[/] {notice}", highlight=False)
    if detach:
        if as_json:
            print_json(submitted)
        return
    report = follow_run(folder, submitted)
    print_report(report, as_json=as_json)


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What the coordinator is doing and which agents it sees.

    Example: coordinator status
    """
    from coordinator.commands import read_status

    found = read_status(home_of(ROLE, home))
    if as_json:
        print_json(found)
        return
    running = (
        f"running (pid {found['pid']})"
        if found["pid"]
        else "not running; start it with: coordinator serve"
    )
    stdout.print(f"[bold]{found['url']}[/]  {running}")
    if found["run"]:
        stdout.print(f"run {found['run']}  round {found['round']}  {found['stage']}")
    if not found["agents"]:
        stderr.print("nobody has joined yet; invite agents with: coordinator invite NAME…")
        return
    made = table("Agents", "name", "state", "last seen")
    for agent in found["agents"]:
        made.add_row(agent["name"], agent["state"], _ago(agent["last_seen"]))
    stdout.print(made)


@app.command()
def doctor(
    home: HomeOption = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Also hold this plan against the machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine: packages, memory, disk, keys, database, roster, certificate, port, clock.

    Example: coordinator doctor --plan plan.toml
    """
    from coordinator.doctor import diagnose
    from shared.doctor import show

    show(diagnose(home_of(ROLE, home), plan), json=as_json)


def _sign_and_watch(folder: Path, keys: Path, passphrase_file: Path | None) -> None:
    import threading

    from coordinator.roster_files import open_federation_key, sign_roster
    from coordinator.signer import watch

    key = open_federation_key(
        keys, lambda: _passphrase(passphrase_file, "Federation key passphrase: ")
    )

    def say(sentence: str) -> None:
        stderr.print(sentence, markup=False)

    watch(folder, lambda candidate: sign_roster(candidate, key), say, threading.Event())


def _print_initialised(made: "Initialised", *, as_json: bool) -> None:
    if as_json:
        keys = ("home", "federation", "url", "ca_sha256", "federation_fingerprint")
        print_json({key: str(getattr(made, key)) for key in keys})
        return
    stdout.print(
        f"{'Initialised' if made.fresh else 'Already initialised:'} {made.home} for {made.url}"
    )
    stdout.print(f"CA certificate SHA-256 {made.ca_sha256}")
    stdout.print(
        f"Federation key fingerprint {made.federation_fingerprint}, key in {made.federation}"
    )
    if made.one_machine:
        stdout.print(
            "One-machine mode: the key stays here, unencrypted, and signs whoever joins. Whoever takes\n"
            "this machine over can admit members of their own and so uncover single updates; then only\n"
            "differential privacy protects the devices' records (docs/threat-model.md)."
        )
    else:
        stdout.print(
            "Move that folder to another machine and keep it offline; whoever holds it\n"
            "decides who belongs to the federation."
        )
    stdout.print("Next: coordinator invite NAME…, then coordinator serve")


def _own_candidate(folder: Path) -> bytes:
    from coordinator.commands import export_candidate

    return export_candidate(folder)


def _import_own(folder: Path, signed: bytes) -> None:
    from coordinator.commands import import_signed

    epoch = import_signed(folder, signed)
    stderr.print(
        f"Signed and imported roster epoch {epoch}. The federation key was on the coordinator's own"
    )
    stderr.print(
        "machine: whoever takes that machine over can admit members. Better: sign elsewhere."
    )


def _show_candidate(candidate: bytes) -> None:
    from coordinator.roster_files import RosterFile

    shown = RosterFile.decode(candidate)
    made = table(f"Roster epoch {shown.roster.epoch}", "agent", "identity key (Ed25519)")
    for agent, public in sorted(
        shown.roster.members.items(), key=lambda item: shown.names.get(item[0], "")
    ):
        made.add_row(shown.names.get(agent, agent.hex()), public.hex())
    stderr.print(made)


def _new_passphrase(file: Path | None) -> bytes:
    """Ask twice; an empty passphrase is refused."""
    from shared.errors import ConfigError

    first = _passphrase(file, "New passphrase for the federation key: ")
    if file is None and first != _passphrase(None, "Once more: "):
        raise ConfigError("the two passphrases differ; nothing was made")
    if not first:
        raise ConfigError(
            "an empty passphrase protects nothing; use --no-passphrase to store the key unencrypted"
        )
    return first


def _passphrase(file: Path | None, prompt: str) -> bytes:
    import getpass
    import sys

    from shared.errors import ConfigError
    from shared.files import read_secret

    if file is not None:
        return read_secret(file).strip()
    if not sys.stdin.isatty():
        raise ConfigError(
            "no terminal to ask for the passphrase on; give --passphrase-file (or --no-passphrase to init)"
        )
    return getpass.getpass(prompt).encode()


def _ago(seen: float | None) -> str:
    if seen is None:
        return "never"
    seconds = max(0, int(time.time() - seen))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
