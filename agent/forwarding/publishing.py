"""One message to an MQTT broker that the owner named (MQTT 3.1.1, by paho-mqtt)."""

import functools
import queue
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeveil.agent.forwarding.trusted import Undelivered, context
from edgeveil.agent.rules.actions import MqttAction, filled
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.base.files import read_secret

WAIT_S = 10
MOST_LEVEL = 60  # characters that one value adds to a topic
_PLAIN = re.compile(r"[^\w.-]", re.ASCII)


class Publisher:
    """Raises ModuleNotFoundError without paho-mqtt, StateDamaged or ConfigError for files that cannot be used."""

    def __init__(self, action: MqttAction, beside: Callable[[str], Path]) -> None:
        from paho.mqtt import client, enums  # noqa: PLC0415 - of the extra mqtt, for these rules alone

        self._make: Callable[[], Any] = functools.partial(
            client.Client, enums.CallbackAPIVersion.VERSION2, reconnect_on_failure=False
        )
        self._action = action
        self._password_file = beside(action.password_file) if action.password_file else None
        self._context: ssl.SSLContext | None = None
        if action.tls:
            self._context = context(beside(action.ca_file) if action.ca_file else None, action.pin)
        self._password()

    def publish(self, values: Mapping[str, str], body: bytes) -> None:
        """Return when the broker has it (with qos 0: when it is sent); raises Undelivered."""
        topic = filled(self._action.topic, {name: level(text) for name, text in values.items()})
        client, answered = self._client()
        try:
            client.connect(self._action.host, self._action.port, keepalive=WAIT_S)
            client.loop_start()
            try:
                refusal = answered.get(timeout=WAIT_S)
            except queue.Empty:
                raise Undelivered(f"no answer within {WAIT_S} s") from None
            if refusal:
                raise Undelivered(refusal)
            told = client.publish(topic, body, qos=self._action.qos, retain=self._action.retain)
            told.wait_for_publish(WAIT_S)
            if not told.is_published():
                raise Undelivered(f"not confirmed within {WAIT_S} s")
        except (OSError, ValueError, RuntimeError) as error:
            raise Undelivered(str(error) or type(error).__name__) from error
        finally:
            client.disconnect()
            client.loop_stop()

    def _client(self) -> tuple[Any, "queue.SimpleQueue[str]"]:
        """And what the broker says to the connection: nothing, or why not."""
        answered: queue.SimpleQueue[str] = queue.SimpleQueue()
        made = self._make()
        made.connect_timeout = WAIT_S

        def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
            answered.put(f"the broker says: {reason}" if reason.is_failure else "")

        made.on_connect = connected
        if self._context is not None:
            made.tls_set_context(self._context)
            made.tls_insecure_set(not self._context.check_hostname)
        if self._action.user:
            try:
                made.username_pw_set(self._action.user, self._password())
            except StateDamaged as error:
                raise Undelivered(error.message) from error
        return made, answered

    def _password(self) -> str | None:
        if self._password_file is None:
            return None
        return read_secret(self._password_file).decode("utf-8", "replace").strip("\r\n")


def level(text: str) -> str:
    """A value as part of one level of a topic: no slash, no wildcard, no control, never empty."""
    return _PLAIN.sub("_", text)[:MOST_LEVEL] or "_"
