"""A gateway that offers published models, without SuperLink, and devices that have joined its coordinator."""

from pathlib import Path

import numpy as np
import onnx
from look_bench import initialised
from models_bench import KEY, VECTORS, pictures, resigned
from store_bench import add_agent

from edgeveil.agent.home.config import AgentConfig, save
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.inference.runtime import open_model
from edgeveil.coordinator.flower_runtime.superlink import self_signed
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.machine.transport import Member
from edgeveil.coordinator.models.publishing import ModelShelf, publish
from edgeveil.coordinator.plan.config import identity_path
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.models.package import read_package
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.roster import agent_id

NAMES = ("cam-1", "cam-2")
CNN = VECTORS / "cnn.evm"


def signing(folder: Path) -> Path:
    """A coordinator's home that signs with KEY, as the packages of the vectors are signed."""
    home = initialised(folder)
    key = identity_path(home)
    key.unlink()
    key.write_bytes(KEY)
    key.chmod(0o600)
    return home


def newer(target: Path, number: int, **changes) -> Path:
    """A package like CNN, of another round."""
    origin = read_package(CNN).manifest.origin.model_dump() | {"round": number, "finished": 1_700_000_000 + number}  # fmt: skip
    target.write_bytes(resigned(read_package(CNN), origin=origin, **changes))
    return target


class Front:
    """`home` is the coordinator's; devices() makes homes of members, all at once."""

    def __init__(self, folder: Path, settings=None) -> None:
        self.folder = folder
        self.home = signing(folder)
        self.public = Identity.load(identity_path(self.home)).public
        self.certificate, key = self_signed()
        files = folder / "gateway.crt", folder / "gateway.key"
        for path, content in zip(files, (self.certificate, key), strict=True):
            path.write_bytes(content)
        self.shelf = ModelShelf(self.home)
        self.gateway = Gateway(join=lambda *_: (200, {}), ready=bool, log=lambda *_, **__: None, settings=settings, shelf=self.shelf)  # fmt: skip
        self.gateway.start("127.0.0.1", 0, files)
        self.members: list[Member] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.gateway.port}"

    def devices(self, *names: str) -> list[AgentHome]:
        homes = []
        with Store.open(self.home) as store:
            for name in names:
                made = AgentHome(self.folder / name)
                made.ensure_keys()
                made.next_session()
                public = made.identity().public
                values = {
                    "url": self.url, "ca_pem": self.certificate, "coordinator_public": self.public,
                    "federation_public": bytes(32), "name": name, "agent_id": agent_id(public),
                    "token_id": bytes(16), "state": "member",
                }  # fmt: skip
                made.save_pinned(Pinned(**values))
                add_agent(
                    store,
                    EnrolledAgent(agent_id(public), name, public, made.node_public_pem(), 1.0),
                )
                self.members.append(Member(agent_id(public), name, public, made.node_public_pem()))
                homes.append(made)
        self.gateway.set_members(self.members)
        return homes

    def publish(self, file: Path = CNN, names=None, **options) -> dict:
        """As `coordinator model publish` with a coordinator that runs."""
        found = publish(self.home, file, names, **options)
        self.look()
        return found

    def look(self) -> None:
        if self.shelf.reload():
            self.gateway.models_changed()

    def stop(self) -> None:
        self.gateway.stop()


def turned(target: Path, number: int) -> Path:
    """A package like CNN whose logits are turned round: wrong wherever CNN is right."""
    package = read_package(CNN)
    model = onnx.load_from_string(package.model)
    last = model.graph.node[-1].input
    for tensor in model.graph.initializer:
        if tensor.name in last:
            tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))  # fmt: skip
    origin = package.manifest.origin.model_dump() | {"round": number, "finished": 1_700_000_000 + number}  # fmt: skip
    target.write_bytes(resigned(package, model=model.SerializeToString(), origin=origin))
    return target


def labelled(folder: Path, count: int = 12) -> Path:
    """An .npz file of pictures with the labels that CNN gives them."""
    raw = pictures(count, 8, 8)
    model = open_model(CNN)
    labels = [model.labels.index(found.label) for found in model.predict(raw)]
    np.savez(folder / "own.npz", X=raw, y=np.array(labels))
    return folder / "own.npz"


def own_data(home: AgentHome, data: Path) -> None:
    save(home.path, AgentConfig(data=data))


def policy(home: AgentHome, **values) -> None:
    home.policy_path.write_text(Policy.parse(values, "test").to_toml())
