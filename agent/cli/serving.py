"""`agent serve` and `agent watch`: a model that stays at work, and is swapped when a newer one is in use."""

import itertools
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgeveil.agent.cli.model_commands import TrustOption
from edgeveil.agent.cli.models import ThresholdOption
from edgeveil.agent.cli.rules.commands import RulesOption
from edgeveil.shared.terminal import console

ROLE = "agent"
LOOK_S = 0.4  # between two looks at a folder
ThreadsOption = Annotated[
    int, Option("--threads", min=0, max=256, help="Of the runtime [default: one a processor].")
]


def serve(
    model: Annotated[
        Path | None,
        Argument(metavar="[MODEL]", help="A model package [default: the model in use here]."),
    ] = None,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    listen: Annotated[
        str,
        Option("--listen", metavar="ADDRESS", help="HOST:PORT on loopback, or unix:PATH."),
    ] = "127.0.0.1:8482",
    token_file: Annotated[
        Path | None,
        Option(
            "--token-file", metavar="FILE", help="Made if absent [default: in the state folder]."
        ),
    ] = None,
    rules: RulesOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Answer requests with a model until interrupted, on loopback or a Unix socket; a newer one takes its place by itself.

    What follows from answers, and whether results leave this device, stands in the owner's rules.toml (docs/rules.md).

    Example: agent serve --listen unix:/run/user/1000/edgeveil/serve.sock
    """
    import signal
    import threading

    from edgeveil.agent.cli.rules.at_work import following
    from edgeveil.agent.delivery.following import followed
    from edgeveil.agent.inference.boxes import SHOWN
    from edgeveil.agent.inference.serving.listening import address
    from edgeveil.agent.inference.serving.service import Server
    from edgeveil.shared.base.files import private_directory
    from edgeveil.shared.pages.door import page_token
    from edgeveil.shared.terminal.telling import say

    folder, where = console.home_of(ROLE, home), address(listen)
    with (
        followed(folder, model, trust=trust, threads=threads, say=say) as slot,
        following(folder, rules, slot.current(), "serve", least=SHOWN) as seen,
    ):
        kept = token_file or private_directory(folder) / "serve.token"
        token = None if isinstance(where, Path) else page_token(kept)
        server = Server(where, slot, token, seen)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        served = model or f"the model in use, {slot.current().digest[:12]},"
        if isinstance(where, Path):
            say(f"serving {served} at unix:{where}; this user and root need no token")
        else:
            host, port = server.server_address[:2]
            shown = f"[{host!s}]" if ":" in str(host) else str(host)
            say(f"serving {served} at http://{shown}:{port}/v1/predict; the token is in {kept}")
        try:
            server.serve_forever(poll_interval=0.2)
        finally:
            server.server_close()


def watch(
    folder: Annotated[Path, Argument(metavar="DIR", help="Files arrive here.")],
    model: Annotated[
        Path | None,
        Option("--model", metavar="FILE", help="A model package [default: the model in use here]."),
    ] = None,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    threshold: ThresholdOption = None,
    existing: Annotated[bool, Option("--existing", help="Also what is there already.")] = False,
    rules: RulesOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """What a model says of each file that arrives in a folder, as lines of JSON, until interrupted; of moments, of
    each line that a records.csv there gets.

    What follows from answers, and whether results leave this device, stands in the owner's rules.toml (docs/rules.md).

    Example: agent watch ./photos
    """
    import signal
    import threading

    from edgeveil.agent.cli.models import json_lines, least_score
    from edgeveil.agent.cli.rules.at_work import following, passed_on
    from edgeveil.agent.delivery.following import followed
    from edgeveil.agent.inference.arrivals import Arrivals
    from edgeveil.agent.inference.inputs import endings, find
    from edgeveil.agent.inference.moments import Growing
    from edgeveil.agent.inference.predicting import predictions
    from edgeveil.shared.base.errors import ConfigError
    from edgeveil.shared.terminal.telling import say

    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    kept = console.home_of(ROLE, home)
    with (
        followed(kept, model, trust=trust, threads=threads, say=say) as slot,
        following(kept, rules, slot.current(), "watch") as seen,
    ):
        opened = slot.current()
        arrivals = Arrivals(folder, existing, endings(opened.input))
        least = least_score(opened, threshold)
        say(f"watching {folder} with model {slot.current().digest[:12]}")
        growing = Growing()
        if not existing:
            for path in find([str(folder)], opened.input).paths:
                growing.told(path)
        arrivals.look()
        while not stop.wait(LOOK_S):
            for path in itertools.takewhile(lambda _: not stop.is_set(), arrivals.look()):
                now = slot.current()
                if now is not opened:  # of a newer one too, what was asked for holds
                    opened, least = now, least_score(now, threshold)
                answers = predictions(opened, [path], sys.stdin.buffer, first=growing.told(path))
                json_lines(passed_on(answers, least, opened.digest, seen), least)
                sys.stdout.flush()
