"""Tells the coordinator how this device stands, before it asks for work (docs/transport.md, "Condition")."""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.supernode.fleet_http_client import FleetHttpClient

from edgeveil.agent.flower_link.fleet_client import http_client, public_pem, server_address
from edgeveil.agent.flower_link.retry import Caller, Dropped
from edgeveil.agent.joining.signed_post import signed_headers
from edgeveil.shared.wire.condition import PATH, Condition
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.request_signature import Session


class ConditionTeller:
    """Says it once per session and again when it has changed; `condition()` None says nothing."""

    def __init__(
        self,
        client: FleetHttpClient,
        url: str,
        *,
        node_key: EllipticCurvePrivateKey,
        signer: Signer,
        session: Session,
        condition: Callable[[], Condition | None],
    ) -> None:
        self._http = http_client(client)
        self._url = f"https://{server_address(url)}{PATH}"
        self._node_key = node_key
        self._signer = signer
        self._session = session
        self._condition = condition
        self._told: Condition | None = None
        self._listened_to = True

    def begin(self) -> None:
        """A coordinator that was met anew knows nothing yet."""
        self._told, self._listened_to = None, True

    def tell(self, caller: Caller) -> None:
        """Raises what Caller.call() does; an older coordinator that does not listen is left in peace."""
        condition = self._condition()
        if condition is None or condition == self._told or not self._listened_to:
            return
        try:
            caller.call(lambda: self._post(condition))
        except Dropped:
            self._listened_to = False
        self._told = condition

    def _post(self, condition: Condition) -> None:
        body = condition.encode()
        headers = signed_headers(
            self._node_key,
            public_pem(self._node_key),
            self._signer,
            str(self._session),
            PATH,
            body,
        )
        self._http.post(self._url, content=body, headers=headers).raise_for_status()
