"""`agent model threshold`: from the owner's normal records to the score above which a record is odd here."""

import contextlib
from pathlib import Path
from typing import Any

from edgeveil.agent.inference.evaluation import scored
from edgeveil.agent.inference.runtime import Model, open_model
from edgeveil.agent.inference.values import thresholds
from edgeveil.shared.base.errors import ConfigError, EdgeveilError
from edgeveil.shared.models.given import OddOutput


def threshold_of(
    model: Model, home: Path, data: Path | None, false_alarms: float | None
) -> dict[str, Any]:
    """Found on `data` and kept, or the one that is kept; with a sentence where it comes from.

    Raises:
        ConfigError: the model tells no odd records, or there is nothing to show.
        DataError: no such records, or too few normal ones for that rate.
    """
    given = model.manifest.output
    if not isinstance(given, OddOutput):
        raise ConfigError("this model tells no odd records: it needs no threshold")
    rate = given.false_alarms if false_alarms is None else false_alarms
    if data is not None:
        scores, odd, _ = scored(model, given, data, quiet=True)
        value = thresholds.found_on(scores[~odd], rate)
        found = thresholds.Threshold(
            model=model.digest,
            threshold=value,
            false_alarms=rate,
            records=int((~odd).sum()),
            data=str(data.resolve()),
        )
        thresholds.keep(home, found)
    kept = thresholds.kept(home, model.digest)
    if kept is not None:
        told = f"found on {kept.records:,} normal records of this device for {kept.false_alarms:g} false alarms"
        return {"model": model.digest, "threshold": kept.threshold, "false_alarms": kept.false_alarms, "records": kept.records, "from": told}  # fmt: skip
    if given.threshold is None:
        raise ConfigError("neither this device nor the package has a threshold: name normal records with --data")  # fmt: skip
    told = f"the package says so, for {given.false_alarms:g} false alarms among the coordinator's held-out records"
    return {"model": model.digest, "threshold": given.threshold, "false_alarms": given.false_alarms, "records": None, "from": told}  # fmt: skip


def carry(home: Path, before: str | None, file: Path, signer: str) -> None:
    """Find anew for the model in `file` what was found for the one `before`: on the same records, for the same rate.

    Where that cannot be done the package's own threshold holds.
    """
    kept = None if before is None else thresholds.kept(home, before)
    if kept is None:
        return
    with contextlib.suppress(EdgeveilError):
        model = open_model(file, trust=signer, threads=1)
        threshold_of(model, home, Path(kept.data), kept.false_alarms)
