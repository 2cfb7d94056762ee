"""All checks of a task, and what they find, in plain words."""

import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.tasks.conformance import (
    figure_checks,
    model_checks,
    record_checks,
    variation_checks,
)
from edgeveil.shared.tasks.conformance.subject import Broken, Subject


@dataclass(frozen=True, slots=True)
class Check:
    """`holds` raises Broken where the task does not; it gets an empty folder of its own.

    `promise` completes "the task …"; a check that `needs_records` is left out where none can be made up.
    """

    promise: str
    holds: Callable[[Subject, Path], None]
    needs_records: bool = False

    def __str__(self) -> str:
        return self.holds.__name__


@dataclass(frozen=True, slots=True)
class Finding:
    """`fault` is empty where the promise is kept; `tried` is false where it could not be looked at."""

    promise: str
    fault: str = ""
    tried: bool = True


CHECKS = (
    Check("has closed options", record_checks.has_closed_options),
    Check("has as many parameters as it says", model_checks.says_its_size),
    Check("starts from the same bits everywhere", model_checks.starts_alike),
    Check("remembers nothing between records", model_checks.remembers_nothing),
    Check("has a gradient of each record alone", model_checks.has_a_gradient_of_one_record_alone),
    Check("has a loss per record, their mean and their sum", model_checks.reduces_its_loss),
    Check("stands a record of NaN", model_checks.stands_a_record_of_nans),
    Check("stands an empty batch", model_checks.stands_an_empty_batch),
    Check("makes records up in the form of real ones", record_checks.makes_records_up),
    Check("prepares each record by itself", record_checks.prepares_each_record_by_itself, needs_records=True),
    Check("takes the records that it asks for", record_checks.takes_what_it_asks_for, needs_records=True),
    Check("varies each record by itself", variation_checks.varies_each_record_by_itself),
    Check("has tallies that add up", figure_checks.adds_its_tally_up),
    Check("adds no more of a record to a tally than it declares", figure_checks.bounds_its_tallies),
    Check("has figures within their range", figure_checks.has_figures_in_their_range),
)  # fmt: skip


def examine(subject: Subject, checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """What each check finds, one after another; whatever the task raises is a finding too."""
    for check in checks:
        if check.needs_records and subject.write is None:
            yield Finding(check.promise, "records of this kind cannot be made up here", tried=False)
            continue
        yield Finding(check.promise, fault(check, subject))


def fault(check: Check, subject: Subject) -> str:
    """Why the task does not hold to the check, or ""."""
    with tempfile.TemporaryDirectory(prefix="edgeveil-check-") as folder:
        try:
            check.holds(subject, Path(folder))
        except Broken as error:
            return str(error)
        except EdgeveilError as error:
            return error.message
        except Exception as error:  # noqa: BLE001  the task's own code may raise anything
            return raised(error)
    return ""


def raised(error: BaseException) -> str:
    """What code of a task raised, and in which line of which file."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no more is said"
    return f"raised {type(error).__name__}: {first[:300]}{where}"
