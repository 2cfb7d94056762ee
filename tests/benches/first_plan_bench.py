"""`coordinator plan new` as a command, for tests of the plans it writes."""

from typer.testing import CliRunner

from edgeveil.coordinator.cli.app import app


def new(folder, *arguments, **options):
    target = folder / "plan.toml"
    found = CliRunner().invoke(
        app, ["plan", "new", "-o", str(target), *map(str, arguments)], **options
    )
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return target, found
