"""Tells the coordinator how this device stands, before it asks for work (docs/transport.md, "Condition")."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.supernode.fleet_http_client import FleetHttpClient

from edgeveil.agent.flower_link.fleet_client import http_client, public_pem, server_address
from edgeveil.agent.flower_link.retry import Caller, Dropped
from edgeveil.agent.joining.signed_post import signed_headers
from edgeveil.shared.wire.condition import PATH, Condition
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.request_signature import Session


@dataclass(eq=False)
class ConditionTeller:
    """Says it once per session and again when it has changed; `condition()` None says nothing."""

    client: FleetHttpClient
    url: str
    node_key: EllipticCurvePrivateKey
    signer: Signer
    session: Session
    condition: Callable[[], Condition | None]
    _told: Condition | None = field(default=None, init=False)
    _listened_to: bool = field(default=True, init=False)

    def begin(self) -> None:
        """A coordinator that was met anew knows nothing yet."""
        self._told, self._listened_to = None, True

    def tell(self, caller: Caller) -> None:
        """Raises what Caller.call() does; an older coordinator that does not listen is left in peace."""
        condition = self.condition()
        if condition is None or condition == self._told or not self._listened_to:
            return
        try:
            caller.call(lambda: self._post(condition))
        except Dropped:
            self._listened_to = False
        self._told = condition

    def _post(self, condition: Condition) -> None:
        body = condition.encode()
        key, session = self.node_key, str(self.session)
        headers = signed_headers(key, public_pem(key), self.signer, session, PATH, body)
        where = f"https://{server_address(self.url)}{PATH}"
        http_client(self.client).post(where, content=body, headers=headers).raise_for_status()
