"""The agent as a Flower ClientApp: one handler per stage, and nothing it raises gets out.

Stock Flower sends the text of an exception to the server. Here an error reply carries a number and
no words; what went wrong stays in the agent's own log (docs/transport.md, "Messages").
"""

import logging
from collections.abc import Callable

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.flower.codec import decode_request, encode_reply
from edgeveil.shared.wire.messages import Asking, Reply, Request, Stage

AGENT_FAILED = 100  # outside Flower's own codes, which end at 10

_log = logging.getLogger("edgeveil.agent")


def build(handle: Callable[[Request], Reply]) -> ClientApp:
    """A ClientApp whose every stage goes to `handle`, one message at a time."""
    app = ClientApp()

    def answer(message: Message, _context: Context) -> Message:
        try:
            request = decode_request(message.content)
            if request.stage != message.metadata.message_type:
                raise ProtocolError(
                    RefusalCode.MALFORMED, "the message's type is not the stage it carries"
                )
            return Message(encode_reply(handle(request)), reply_to=message)
        except Exception:  # noqa: BLE001 - the boundary: no text of ours crosses it
            _log.exception("a request could not be answered")
            return Message(Error(AGENT_FAILED), reply_to=message)

    register = {"train": app.train, "evaluate": app.evaluate, "query": app.query}
    for stage in (*Asking, *Stage):
        category, action = stage.split(".")
        register[category](action)(answer)
    return app
