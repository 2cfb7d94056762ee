"""TLS to whom the owner named: by the system's authorities, by a file of them, or by one pinned certificate."""

import hashlib
import hmac
import ssl
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import ConfigError


class Undelivered(Exception):
    """Not now; the sentence says why. It is tried again."""


class Refused(Exception):
    """Never: the other side does not take this one."""


def context(ca_file: Path | None, pin: str) -> ssl.SSLContext:
    """TLS 1.2 or newer; raises ConfigError for a file that holds no authority."""
    if pin:
        made = ssl.create_default_context()
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE  # the certificate itself is compared instead
        made.sslsocket_class = _pinned(bytes.fromhex(pin))
        return made
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca_file}: no certificate authority in PEM ({error})") from error


def _pinned(wanted: bytes) -> type[ssl.SSLSocket]:
    class Pinned(ssl.SSLSocket):
        """No byte is sent before the handshake has shown the pinned certificate."""

        def do_handshake(self, *args: Any, **options: Any) -> None:
            super().do_handshake(*args, **options)
            shown = self.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(hashlib.sha256(shown).digest(), wanted):
                raise ssl.SSLCertVerificationError("the certificate is not the pinned one")

    return Pinned
