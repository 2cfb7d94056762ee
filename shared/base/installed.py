"""Which versions this process runs on; for records and reports."""

from functools import cache

PACKAGES = ("edgeveil", "flwr", "torch", "opacus", "numpy", "cryptography")


def software() -> str:
    """What a report or an answer says it was made by."""
    from importlib.metadata import version  # noqa: PLC0415 - it reads mail headers: felt at each start

    return f"edgeveil {version('edgeveil')}"


@cache
def installed() -> dict[str, str]:
    """Version by package, of those that are there; nothing is imported."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - as above

    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
