"""The `coordinator` command: parse, call one function, print. Heavy imports live inside commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.text import Text
from typer import Argument, Option

from edgeveil.coordinator.cli.agents import ago
from edgeveil.coordinator.cli.agents import app as agents_app
from edgeveil.coordinator.cli.care import app as care_app
from edgeveil.coordinator.cli.export import app as export_app
from edgeveil.coordinator.cli.export import model_app
from edgeveil.coordinator.cli.look import app as look_app
from edgeveil.coordinator.cli.look import print_report
from edgeveil.coordinator.cli.own.commands import app as tasks_app
from edgeveil.coordinator.cli.plans import app as plans_app
from edgeveil.coordinator.cli.roster import FederationOption, PassphraseFile, new_passphrase
from edgeveil.coordinator.cli.roster import app as roster_app
from edgeveil.coordinator.cli.simulated.commands import app as simulated_app
from edgeveil.coordinator.cli.study.commands import app as tuning_app
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.coordinator.cli.setup import Initialised

app = typer.Typer(
    help="Orchestrate training rounds across agents; learn only sums.\n\n"
    "Start with: coordinator init --url https://HOST:8443",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(roster_app, name="roster")
app.add_typer(agents_app, name="agents")
app.add_typer(plans_app, name="plan")
app.add_typer(tasks_app, name="task")
app.add_typer(look_app)
app.add_typer(export_app)
app.add_typer(model_app, name="model")
app.add_typer(simulated_app)
app.add_typer(care_app)
app.add_typer(tuning_app)
console.version_option(app)
ROLE = "coordinator"
TTL = "1h"  # of a token

AgainOption = Annotated[
    bool, Option("--again", help="Train by the plan also when that was done before.")
]


def main() -> NoReturn:
    console.run(app, ROLE)


@app.command()
def init(
    url: Annotated[
        str, Option("--url", help="What agents reach, e.g. https://fl.example.org:8443")
    ],
    home: console.HomeOption = None,
    listen: Annotated[
        str | None, Option(help="host:port to listen on (default 0.0.0.0 and the port of the URL).")
    ] = None,
    host: Annotated[
        list[str] | None, Option(help="Further name or address for the certificate.")
    ] = None,
    federation: FederationOption = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool,
        Option(
            "--no-passphrase",
            help="Store the federation key unencrypted (demo, or an encrypted disk).",
        ),
    ] = False,
    one_machine: Annotated[
        bool,
        Option(
            "--one-machine",
            help="Keep the federation key here, unencrypted; `serve` has rosters signed by itself.",
        ),
    ] = False,
    invited: Annotated[
        str | None,
        Option("--invite", metavar="A,B,…", help="Invite these devices at once, for an hour."),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Make keys, certificates, database and coordinator.toml.

    Example: coordinator init --url https://fl.example.org:8443 --invite cam-1,cam-2,cam-3
    """
    from edgeveil.coordinator.cli.setup import initialise, wanted
    from edgeveil.shared.base.names import check_name

    wanted(url, listen, tuple(host or ()))  # before a passphrase is asked for
    names = [check_name(name.strip(), "--invite") for name in (invited or "").split(",") if name]
    folder = console.home_of(ROLE, home)
    keys = federation or folder.parent / "federation"
    fresh = not (folder / "coordinator.toml").exists()
    encrypted = fresh and not no_passphrase and not one_machine
    passphrase = new_passphrase(passphrase_file) if encrypted else None
    made = initialise(
        folder,
        keys.absolute(),
        url=url,
        listen=listen,
        hosts=tuple(host or ()),
        passphrase=passphrase,
        one_machine=one_machine,
    )
    tokens = _tokens(folder, names) if names else {}
    _print_initialised(made, tokens, as_json=as_json)


@app.command()
def invite(
    names: Annotated[
        list[str], Argument(metavar="NAME…", help="One name per device, a-z 0-9 and '-'.")
    ],
    home: console.HomeOption = None,
    ttl: Annotated[str, Option(help="How long a token is valid: 30m, 1h, 2d.")] = TTL,
    hold: Annotated[
        bool, Option("--hold", help="Whoever joins waits for: coordinator agents approve NAME.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Print one single-use token per device; hand each to its device over a trusted channel.

    In a pipe several tokens come as NAME TOKEN, one a line; a single one comes bare.

    Example: coordinator invite cam-1 cam-2 cam-3 --ttl 1h
    """
    from edgeveil.coordinator.cli.operator import make_tokens, parse_ttl

    tokens = make_tokens(console.home_of(ROLE, home), names, parse_ttl(ttl), hold=hold)
    if as_json:
        console.print_json([{"name": name, "token": token} for name, token in tokens.items()])
        return
    terminal = console.stdout.is_terminal
    for name, token in tokens.items():
        if terminal:
            said = Text.assemble((name, "bold"), f" (valid for {ttl}, once):")
            console.stderr.print(said, end=" ")
        named = not terminal and len(tokens) > 1
        console.stdout.print(f"{name} {token}" if named else token)
    console.stderr.print("On each device: agent run --join TOKEN --data PATH")


@app.command()
def serve(
    home: console.HomeOption = None,
    plan: Annotated[Path | None, Option("--plan", help="Queue this plan at once.")] = None,
    again: AgainOption = False,
    plain_http: Annotated[
        bool,
        Option(
            "--plain-http", help="Listen without TLS, on loopback only, behind a TLS proxy here."
        ),
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Leave events out of standard error.")
    ] = False,
) -> None:
    """Run the coordinator until interrupted. Unfinished runs continue by themselves.

    Example: coordinator serve --plan plan.toml
    """
    from edgeveil.coordinator.serving.serve import serve as serve_forever

    serve_forever(
        console.home_of(ROLE, home), plan, again=again, plain_http=plain_http, quiet=quiet
    )


@app.command("run")
def run_plan(
    plan: Annotated[Path, Argument(help="A plan file, see deploy/samples.")],
    home: console.HomeOption = None,
    again: AgainOption = False,
    as_json: console.JsonOption = False,
    detach: Annotated[bool, Option("--detach", help="Queue it and return.")] = False,
    check: Annotated[
        bool,
        Option("--check", help="Ask the connected agents who would take part, and begin nothing."),
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Leave progress out of standard error.")
    ] = False,
) -> None:
    """Queue a plan at the running coordinator and follow it; the same plan continues where it stopped.

    A plan that was carried out before is not again, unless --again asks for it: its report is shown.

    Example: coordinator run plan.toml
    """
    from edgeveil.coordinator.cli.operator import (
        check_plan,
        follow_run,
        refuse_quarantined,
        submit_plan,
    )

    folder = console.home_of(ROLE, home)
    if check:
        _print_check(check_plan(folder, plan), as_json=as_json)
        return
    submitted = submit_plan(folder, plan, again=again)
    if submitted["taken"] == "finished":
        _print_finished(folder, submitted, as_json=as_json, whole=not detach)
        return
    if submitted["taken"] == "quarantined":
        refuse_quarantined(submitted)
    how = "queued" if submitted["new"] else "continues"
    console.stderr.print(Text.assemble("run ", (submitted["run"], "bold"), f" {how}"))
    for notice in submitted["warnings"]:
        console.warn(notice)
    if detach:
        if as_json:
            console.print_json(submitted)
        return
    report = follow_run(folder, submitted, quiet=quiet)
    print_report(report, folder, as_json=as_json)


@app.command()
def status(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """What the coordinator is doing and which agents it sees.

    Example: coordinator status
    """
    from edgeveil.coordinator.cli.operator import read_status

    found = read_status(console.home_of(ROLE, home))
    if as_json:
        console.print_json(found)
        return
    running = (
        f"running (pid {found['pid']})"
        if found["pid"]
        else "not running; start it with: coordinator serve"
    )
    console.stdout.print(Text.assemble((found["url"], "bold"), f"  {running}"))
    if found["pid"] and found["run"]:
        console.stdout.print(f"run {found['run']}  round {found['round']}  {found['stage']}")
        console.stdout.broken(Text(_waits(found["waits_for"])), indent=2)
    elif found["last_run"]:
        console.stdout.print(_last_run(found["last_run"]))
    if not found["agents"]:
        console.stderr.print("nobody has joined yet; invite agents with: coordinator invite NAME…")
        return
    made = console.table("Agents", "name", "state", "last seen")
    for agent in found["agents"]:
        made.add_row(agent["name"], agent["state"], ago(agent["last_seen"]))
    console.stdout.print(made)


def _waits(found: dict[str, Any]) -> str:
    from edgeveil.coordinator.reports.words import Words
    from edgeveil.coordinator.watching.waiting import Waiting, sentence

    return sentence(Waiting(**found), Words("en"))


@app.command()
def doctor(
    home: console.HomeOption = None,
    plan: Annotated[
        Path | None, Option("--plan", help="Also hold this plan against the machine.")
    ] = None,
    plain_http: Annotated[
        bool, Option("--plain-http", help="As it is served with that flag, behind a TLS proxy.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Check this machine: packages, memory, disk, keys, database, roster, certificate, port, clock.

    Example: coordinator doctor --plan plan.toml
    """
    from edgeveil.coordinator.cli.doctor import diagnose
    from edgeveil.shared.doctor.checks import show

    found = diagnose(console.home_of(ROLE, home), plan, plain_http=plain_http)
    show(found, json=as_json)


def _print_finished(folder: Path, submitted: dict[str, Any], *, as_json: bool, whole: bool) -> None:
    """What came of a plan that was carried out before."""
    from edgeveil.coordinator.reports.reading import read_report

    console.stderr.print(f"{submitted['ended']}; train once more with --again")
    if whole:
        print_report(read_report(folder, submitted["run"]), folder, as_json=as_json)
    elif as_json:
        console.print_json(submitted)


def _print_check(found: dict[str, Any], *, as_json: bool) -> None:
    """Raises RunFailed, after the answers, when too few would take part."""
    if as_json:
        console.print_json(found)
    elif found["agents"]:
        made = console.table("Agents", "name", "would take part", "why not", "what to do")
        for agent in found["agents"]:
            made.add_row(
                agent["agent"],
                "yes" if agent["would"] else "no",
                Text(agent["why"]),
                Text(agent["fix"]),
            )
        console.stdout.print(made)
    for notice in found.get("warnings", ()):
        console.warn(notice)
    if not found["enough"]:
        raise RunFailed(found["sentence"])
    if not as_json:
        console.stderr.print(found["sentence"])


def _last_run(last: dict[str, Any]) -> str:
    how = f"{last['state']}, {last['committed']} of {last['rounds']} rounds committed"
    reason = f" ({last['reason']})" if last["reason"] else ""
    return f"last run {last['run']}: {how}{reason}"


def _tokens(folder: Path, names: list[str]) -> dict[str, str]:
    from edgeveil.coordinator.cli.operator import make_tokens, parse_ttl

    return make_tokens(folder, names, parse_ttl(TTL))


def _print_initialised(made: "Initialised", tokens: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        keys = ("home", "federation", "url", "ca_sha256", "federation_fingerprint")
        told: dict[str, Any] = {key: str(getattr(made, key)) for key in keys}
        console.print_json(told | ({"tokens": tokens} if tokens else {}))
        return
    console.stdout.print(
        f"{'Initialised' if made.fresh else 'Already initialised:'} {made.home} for {made.url}"
    )
    console.stdout.print(f"CA certificate SHA-256 {made.ca_sha256}")
    console.stdout.print(
        f"Federation key fingerprint {made.federation_fingerprint}, key in {made.federation}"
    )
    if made.one_machine:
        console.stdout.lines(
            "One-machine mode: the key stays here, unencrypted, and signs whoever joins. Whoever takes\n"
            "this machine over can admit members of their own and so uncover single updates; then only\n"
            "differential privacy protects the devices' records (docs/threat-model.md).\n"
        )
    else:
        console.stdout.lines(
            "Move that folder to another machine and keep it offline; whoever holds it\n"
            "decides who belongs to the federation.\n"
        )
    if not tokens:
        console.stdout.print("Next: coordinator invite NAME…, then coordinator serve")
        return
    console.stdout.print(f"One token for each device, valid for {TTL} and once:")
    for name, token in tokens.items():
        console.stdout.print(f"{name} {token}")
    console.stdout.print(
        "Next: coordinator serve, and on each device: agent run --join TOKEN --data PATH"
    )
