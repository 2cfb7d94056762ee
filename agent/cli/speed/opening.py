"""Which package a command of this room is about: a file, or the model in use here."""

from pathlib import Path

from edgeveil.shared.base.errors import ModelError
from edgeveil.shared.models.package import Package, read_package
from edgeveil.shared.terminal import console


def opened(file: Path | None, home: Path, trust: str | None) -> tuple[Package, str]:
    """Its signer checked as for a prediction; "" or what is said of one that nobody here vouches for.

    Raises:
        ConfigError: no file is named, and no model is in use.
        ModelError, ModelUntrusted: it cannot be used.
    """
    from edgeveil.agent.delivery.kept import KeptModels
    from edgeveil.agent.inference.trust import check_trust

    if file is None:
        kept = KeptModels(home)
        used = kept.in_use()
        package = read_package(kept.path(used.model))
        if package.digest != used.model:
            raise ModelError(f"{kept.path(used.model)}: not the model that is in use")
        notice = check_trust(package, trust or used.signer, home)
    else:
        package = read_package(file)
        notice = check_trust(package, trust, home)
    if notice:
        console.warn(f"{file}: {notice}")
    return package, notice
