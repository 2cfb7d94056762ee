"""The ClientApp that Flower's actors load by name: many devices in one process, one message at a time."""

import logging
import resource
from pathlib import Path

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from edgeveil.agent.simulation.device import SimulatedDevice
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.flower import managing

logging.getLogger("edgeveil.agent").addHandler(logging.NullHandler())  # the run's records say why


class SimulatedApp(ClientApp):
    """Hands each message to the device whose home the node's configuration names."""

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("edgeveil.agent").propagate = False
        self._devices: dict[str, SimulatedDevice] = {}

    def __call__(self, message: Message, context: Context) -> Message:
        home = str(context.node_config[managing.HOME])
        if message.metadata.message_type == managing.MESSAGE:
            return Message(managing.encode(self._managed(message, home)), reply_to=message)
        device = self._device(home)
        reply = device.app(message, context)
        device.answered()
        return reply

    def _managed(self, message: Message, home: str) -> dict[str, object]:
        """What was asked beside the protocol, or the sentence that says why not."""
        asked = managing.decode(message.content)
        device = self._device(home)
        ways = {
            "join": device.join,
            "member": device.member,
            "start": device.start,
            "budget": device.budget,
        }
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # bytes, at most so far
        try:
            return ways[asked["ask"]](asked) | {"memory": memory}
        except EdgeveilError as error:
            return {"fault": error.message}

    def _device(self, home: str) -> SimulatedDevice:
        if home not in self._devices:
            self._devices[home] = SimulatedDevice(Path(home))
        return self._devices[home]


app = SimulatedApp()
