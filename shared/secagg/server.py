"""The coordinator's side of one attempt, one class per stage (docs/protocol.md, "State machines").

CollectAdverts → CollectShares → CollectMasked → CollectAgreements → CollectUnmasking → Result.
Every stage but the first has requests(); all have accept(), drop(), waiting, quorate and close(),
which returns the next stage (the last one the Result) or raises Aborted.
"""

from shared.secagg.result import Result
from shared.secagg.server_keys import CollectAdverts, CollectShares
from shared.secagg.server_masking import CollectMasked
from shared.secagg.server_stage import ServerSetup, Stage
from shared.secagg.server_unmasking import CollectAgreements, CollectUnmasking

__all__ = [
    "CollectAdverts",
    "CollectAgreements",
    "CollectMasked",
    "CollectShares",
    "CollectUnmasking",
    "Result",
    "ServerSetup",
    "Stage",
]
