"""What the owner is told in plain words while a round goes on; none of it leaves the device."""

from edgeveil.shared.secagg.client.policy import small_cohort_notices
from edgeveil.shared.secagg.primitives.parameters import Params


def consent(allow_two: bool) -> tuple[str, ...]:
    """At the start, when the policy consents to cohorts of two."""
    if not allow_two:
        return ()
    notice = (
        "policy.toml: secagg.allow_two is set: in a cohort of two the other agent can compute this "
        "device's update from the sum; only its noise is left as protection"
    )
    return (notice,)


def small_cohort(params: Params) -> tuple[str, ...]:
    return tuple(f"warning: {text}" for text in small_cohort_notices(params.n_min, params.c_min))


def clipped(count: int, values: int) -> tuple[str, ...]:
    """When the quantiser's reach was too short for `count` of `values`."""
    if not count:
        return ()
    share = 100 * count / values
    return (
        f"{count} of {values} values ({share:.2g} %) were clipped to the plan's range before masking",
    )
