"""One Flower run and the task that drives it, attached in this very process (docs/transport.md).

Flower would start a ServerApp process for a run; we claim its task ourselves and speak the Runtime
API. Flower's own clients obey proxy variables, follow redirects and turn a 401 into SIGINT; these
do none of that: whatever goes wrong is a TransportError.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import httpx

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto import control_pb2, runtime_pb2
from flwr.supercore import control, fab, runtime, task_identity
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import (
    ProtobufCall,
    ProtobufClient,
    ProtobufClientInterceptor,
    ProtobufRequestContext,
)
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

from edgeveil.coordinator.flower_runtime.superlink import SuperLink
from edgeveil.coordinator.gateway.vocabulary import SERVER_NODE
from edgeveil.coordinator.machine.transport import Member
from edgeveil.shared.base.errors import TransportError
from edgeveil.shared.base.failpoints import Failpoint, failpoint

_TASK = "flwr-serverapp"
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_HEARTBEAT_S = 15.0  # a token dies after 60 s without one
_ACQUIRE_TRIES = 20
_SWEPT_RUNS = 20
# The bundle names modules that do not exist: nobody is meant to run it.
_BUNDLE = b"""[project]
name = "edgeveil"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "edgeveil"

[tool.flwr.app.components]
serverapp = "edgeveil_none.server:app"
clientapp = "edgeveil_none.client:app"
"""

Client = TypeVar("Client", bound=ProtobufClient)
Result = TypeVar("Result")


class _Version:
    """States our Flower version as the Runtime API demands; Flower's own may end the process."""

    def __init__(self) -> None:
        self._headers = dict(RuntimeVersionMetadata.from_local_component(_TASK).as_metadata())

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers.update(self._headers)
        return call_next(context)


def connect(
    kind: type[Client], superlink: SuperLink, interceptors: Iterable[ProtobufClientInterceptor]
) -> Client:
    """A client of that kind without proxies and redirects."""
    client = kind.from_server_address(
        superlink.address, False, superlink.certificate, list(interceptors)
    )
    client._client.close()  # noqa: SLF001 - Flower offers no way to pass a client
    client._client = httpx.Client(  # noqa: SLF001
        verify=superlink.tls(), timeout=30.0, trust_env=False, follow_redirects=False
    )
    return client


def guarded(what: str, call: Callable[[], Result]) -> Result:
    """Run a Flower call; whatever HTTP trouble it meets becomes a TransportError."""
    try:
        return call()
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise TransportError(f"Flower's SuperLink answered {status} to {what}") from error
    except (httpx.TransportError, ValueError) as error:
        raise TransportError(f"Flower's SuperLink could not be asked to {what}") from error


class Registry:
    """The agents' transport keys at SuperLink: the only place where nodes are registered."""

    def __init__(self, superlink: SuperLink) -> None:
        self._control = connect(control.ControlHttpClient, superlink, ())

    def sync(self, members: Iterable[Member]) -> dict[bytes, int]:
        """Register who is missing; node ids by transport key.

        Nobody is unregistered: SuperLink would refuse that key for ever (412), the gateway keeps
        removed agents out, and this state is in memory and ends with the process.
        """
        nodes = guarded(
            "list nodes", lambda: self._control.ListNodes(control_pb2.ListNodesRequest())
        )
        known = {info.public_key: info.node_id for info in nodes.nodes_info}
        for member in members:
            if member.node_public not in known:
                new = control_pb2.RegisterNodeRequest(
                    public_key=member.node_public, name=member.name
                )
                answer = guarded("register a node", partial(self._control.RegisterNode, new))
                known[member.node_public] = answer.node_id
        return known

    def start_run(self) -> int:
        content, _ = build_fab_from_files({"pyproject.toml": _BUNDLE})
        request = control_pb2.StartRunRequest(fab=fab_to_proto(fab.Fab("", content, {})))
        failpoint(Failpoint.COORDINATOR_FLOWER_BEFORE)
        answer = guarded("start a run", lambda: self._control.StartRun(request))
        failpoint(Failpoint.COORDINATOR_FLOWER_AFTER)
        return int(answer.run_id)

    def sweep(self) -> None:
        """Let SuperLink free what finished runs left: about 2 KB a message, kept until they are listed.

        It lists the twenty newest, so a run that was missed once is freed by a later sweep.
        """
        request = control_pb2.ListRunsRequest(limit=_SWEPT_RUNS)
        guarded("free finished runs", lambda: self._control.ListRuns(request))

    def close(self) -> None:
        self._control.close()


class FlowerRun:
    """A running run whose task is ours. `lost` is set once SuperLink no longer knows our token."""

    def __init__(self, superlink: SuperLink, run_id: int) -> None:
        self.run_id = run_id
        self.lost = threading.Event()
        task_id, token = _claim(superlink, run_id)
        self.client = connect(
            runtime.RuntimeHttpClient, superlink, (_Version(), RuntimeTokenHttpInterceptor(token))
        )
        self.call(
            "begin the run", lambda: self.client.PullTaskInput(runtime_pb2.PullTaskInputRequest())
        )
        task_identity.TaskIdentity.task_id = task_id
        task_identity.TaskIdentity.run_id = run_id
        task_identity.TaskIdentity.node_id = SERVER_NODE
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="flower-task", daemon=True)
        self._thread.start()

    def call(self, what: str, action: Callable[[], Result]) -> Result:
        """Like `guarded`; notices when the run is lost."""
        try:
            return guarded(what, action)
        except TransportError as error:
            cause = error.__cause__
            if isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code in (
                401,
                403,
            ):
                self.lost.set()
            raise

    def close(self) -> None:
        """Tell SuperLink that the task is done, if it still listens."""
        self._stop.set()
        self._thread.join(1.0)
        done = runtime_pb2.PushTaskOutputRequest(sub_status="completed", details="")
        try:
            guarded("end the run", lambda: self.client.PushTaskOutput(done))
        except TransportError:
            self.lost.set()
        self.client.close()

    def _beat(self) -> None:
        request = runtime_pb2.SendTaskHeartbeatRequest()
        while not self._stop.wait(_HEARTBEAT_S):
            try:
                answer = self.call("keep the run", lambda: self.client.SendTaskHeartbeat(request))
            except TransportError:
                continue
            if not answer.success:
                self.lost.set()


def _claim(superlink: SuperLink, run_id: int) -> tuple[int, str]:
    """Task id and token of our run; tasks that other local processes started are passed over."""
    interceptors: tuple[ProtobufClientInterceptor, ...] = (
        _Version(),
        SuperExecAuthHttpInterceptor(
            master_secret=superlink.secret, protected_methods=frozenset({_ACQUIRE})
        ),
    )
    client = connect(runtime.RuntimeHttpClient, superlink, interceptors)
    request = runtime_pb2.AcquireTaskRequest(supported_task_types=[_TASK])
    pause = threading.Event()
    try:
        for _ in range(_ACQUIRE_TRIES):
            answer = guarded("hand out the task", lambda: client.AcquireTask(request))
            if answer.token and answer.task.run_id == run_id:
                return int(answer.task.task_id), str(answer.token)
            if not answer.token:
                pause.wait(0.1)
    finally:
        client.close()
    raise TransportError(f"Flower's SuperLink never handed out the task of run {run_id}")
