"""From the revealed sum of integers to the mean update. The only numbers an agent's data reach here."""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import Blame, ProtocolError, RefusalCode
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.secagg.server.stages import Result
from edgeveil.shared.vector.quantization import dequantise


def mean_update(result: Result, params: Params) -> NDArray[np.float64]:
    """Σ quantised updates / Σ weights, shape (d,).

    Raises:
        ProtocolError: SUM_RANGE-like, when nothing was summed; a round never reports success for that.
    """
    weight = int(result.segment("weight")[0])
    if weight < 1:
        raise ProtocolError(
            RefusalCode.QUORUM,
            "the summed weight is zero: nothing was aggregated",
            blame=Blame.PEER,
        )
    segment = next(item for item in params.segments if item.name == "params")
    return dequantise(result.segment("params"), segment) / weight
