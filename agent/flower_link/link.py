"""The agent's connection: activate, ask for work, hand it to the ClientApp, send the reply.

Built on Flower's Fleet client class and nothing above it (docs/transport.md, "Agent"). It works on
one message at a time and never fetches an app bundle. A node id lives as long as one activation;
who this agent is, its two keys say.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node

from edgeveil.agent.flower_link import client_app, fleet_client, heartbeat
from edgeveil.agent.flower_link.condition_teller import ConditionTeller
from edgeveil.agent.flower_link.exchange import Exchange
from edgeveil.agent.flower_link.kept_objects import KeptObjects
from edgeveil.agent.flower_link.retry import ActivateFirst, Caller, Dropped, Stopped
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.flower.codec import decode_reply
from edgeveil.shared.wire.condition import Condition
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Reply
from edgeveil.shared.wire.request_signature import Session

_INTERVAL_S = 30.0  # what the gateway insists on; offline is twice that
_DEACTIVATE_S = 3.0
_FINISH_S = 6.0  # for the exchange under way when the owner says stop
_EMPTY_S = 0.2  # between polls that come back empty at once
_REFUSED_S = 2.0  # after a poll that was refused


@dataclass(eq=False, kw_only=True)
class FlowerLink:
    """`session` must grow with every start of this agent. `accepted` is called in the link's thread
    once the gateway has a reply and all its objects; the reply it gets has no bulk. `online` is called
    after each activation and must return at once. `condition` is what the coordinator may be told now.
    """

    url: str
    ca_pem: bytes
    node_key: EllipticCurvePrivateKey = field(repr=False)
    signer: Signer
    session: int
    app: ClientApp
    on_status: Callable[[str], None]
    accepted: Callable[[Reply], None]
    online: Callable[[], None] = lambda: None
    condition: Callable[[], Condition | None] = lambda: None

    def __post_init__(self) -> None:
        self._where = fleet_client.server_address(self.url)
        self._public = fleet_client.public_pem(self.node_key)
        session = Session(self.session, secrets.token_hex(8))
        who = (self.node_key, self.signer, session)
        self._client = fleet_client.make_client(self.url, self.ca_pem, *who)
        self._teller = ConditionTeller(self._client, self.url, *who, condition=self.condition)
        self._said = ""
        self._kept = KeptObjects()
        self._node: Node | None = None
        self._activate_again = threading.Event()
        self._busy = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then return within ten seconds.

        Raises:
            EnrollmentError: this agent is unknown, revoked or superseded.
            TransportError: the coordinator's certificate is not the pinned one, or it refuses us.
            SessionOver: go on with a new link of a higher session.
        """
        halt = threading.Event()
        caller = Caller(self._where, self._say, halt)
        worker = threading.Thread(target=self._work, args=(caller, halt), name="link", daemon=True)
        beat = threading.Thread(target=self._beat, args=(halt,), name="heartbeat", daemon=True)
        worker.start()
        beat.start()
        try:
            while not stop.wait(0.05) and not self._ended.is_set():
                continue
            self._let_finish()
        finally:
            halt.set()
            if not isinstance(self._failure, EdgeveilError):
                self._deactivate()
            fleet_client.http_client(self._client).cut()  # the worker may be reading
        if self._failure is not None:
            raise self._failure

    def _let_finish(self) -> None:
        end = time.monotonic() + _FINISH_S
        while self._busy.is_set() and not self._ended.is_set() and time.monotonic() < end:
            self._ended.wait(0.05)

    def _work(self, caller: Caller, halt: threading.Event) -> None:
        try:
            while True:
                self._serve_session(caller)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the thread that called run()
            if not halt.is_set():  # afterwards the cut client makes calls fail
                self._failure = error
        finally:
            self._busy.clear()
            self._ended.set()

    def _serve_session(self, caller: Caller) -> None:
        """From one activation to the next."""
        try:
            node = self._activate(caller)
            while not self._activate_again.is_set():
                self._serve_one(caller, node)
        except ActivateFirst:
            caller.pause(0.1)

    def _activate(self, caller: Caller) -> Node:
        self._say(f"connecting to {self._where}")
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=_INTERVAL_S)
        pause_s = 2.0
        while True:
            try:
                answer = caller.call(lambda: self._client.ActivateNode(request))
                break
            except Dropped as reason:  # Flower thinks a former process of ours is still online
                self._say(f"{self._where} does not activate this agent yet: {reason}; trying again")
                caller.pause(pause_s)
                pause_s = min(2 * pause_s, 10.0)
        self._node = Node(node_id=answer.node_id)
        self._activate_again.clear()
        self._teller.begin()
        self._say(f"connected to {self._where}; waiting for work")
        self.online()
        return self._node

    def _serve_one(self, caller: Caller, node: Node) -> None:
        """One poll, and the exchange it brings."""
        began = time.monotonic()
        try:
            self._teller.tell(caller)
            answer = caller.call(lambda: self._client.PullMessages(PullMessagesRequest(node=node)))
        except Dropped as reason:
            self._say(f"{self._where} gives no work: {reason}; trying again")
            caller.pause(_REFUSED_S)
            return
        if not answer.messages_list:
            self._say(f"connected to {self._where}; waiting for work")
            if time.monotonic() - began < _EMPTY_S:
                caller.pause(_EMPTY_S)
            return
        self._busy.set()
        try:
            metadata = answer.messages_list[0].metadata
            deadline = time.monotonic() + min(max(metadata.ttl, 0.0), 86_400.0)
            exchange = Exchange(self._client, caller, node, metadata.run_id, deadline, self._kept)
            self._say(f"working on {metadata.message_type}")
            self._exchange(exchange, node, answer.message_object_trees[0])
        except Dropped as reason:
            self._say(f"an exchange ended early: {reason}; waiting for work")
        finally:
            self._busy.clear()

    def _exchange(self, exchange: Exchange, node: Node, tree: ObjectTree) -> None:
        message = exchange.download(tree)
        reply = self._answer(message, node)
        if exchange.upload(reply) and reply.has_content():
            self.accepted(replace(decode_reply(reply.content), bulk=None))

    def _answer(self, message: Message, node: Node) -> Message:
        context = Context(
            run_id=message.metadata.run_id,
            node_id=node.node_id,
            node_config={},
            state=RecordDict(),
            run_config={},
        )
        try:
            return self.app(message, context)
        except Exception:  # noqa: BLE001 - a message type the app has no handler for
            return Message(Error(client_app.AGENT_FAILED), reply_to=message)

    def _beat(self, halt: threading.Event) -> None:
        failed = False
        while heartbeat.wait_for_beat(halt, failed=failed):
            node, failed = self._node, False
            if node is None:
                continue
            request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=_INTERVAL_S)
            try:
                if not self._client.SendNodeHeartbeat(request).success:
                    self._activate_again.set()
            except (httpx.HTTPError, ValueError, RuntimeError):
                failed = True  # the next poll meets the same trouble and knows what to do

    def _deactivate(self) -> None:
        if self._node is None:
            return
        request = DeactivateNodeRequest(node_id=self._node.node_id)
        fleet_client.http_client(self._client).timeout = httpx.Timeout(_DEACTIVATE_S)
        try:
            self._client.DeactivateNode(request)
        except (httpx.HTTPError, ValueError, RuntimeError):
            return  # it will be found out by the silence

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self.on_status(sentence)
