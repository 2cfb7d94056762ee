"""The coordinator's side of one attempt, one class per stage (docs/protocol.md, "State machines").

CollectAdverts → CollectShares → CollectMasked → CollectAgreements → CollectUnmasking → Result.
Every stage but the first has requests(); all have accept(), drop(), waiting, quorate and close(),
which returns the next stage (the last one the Result) or raises Aborted.
"""

from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.secagg.server.keys import CollectAdverts, CollectShares
from edgeveil.shared.secagg.server.masking import CollectMasked
from edgeveil.shared.secagg.server.stage import Bulk, ServerSetup, Stage, too_small
from edgeveil.shared.secagg.server.unmasking import CollectAgreements, CollectUnmasking

__all__ = [
    "Bulk",
    "CollectAdverts",
    "CollectAgreements",
    "CollectMasked",
    "CollectShares",
    "CollectUnmasking",
    "Result",
    "ServerSetup",
    "Stage",
    "too_small",
]
