"""Trust in the coordinator's certificate, and a sentence for every way in which it can fail."""

import ssl

from edgeveil.shared.base.errors import TransportError

# OpenSSL's numbers (x509_vfy.h); Python passes them on in verify_code.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64
_ADD_IT = "the operator adds this one to `hosts` in coordinator.toml and restarts"
_KNOWN = {
    _NOT_YET_VALID: (
        "it is not valid yet",
        "this machine's clock is probably behind; set it right",
    ),
    _EXPIRED: (
        "it has expired",
        "check this machine's clock; if that is right, the operator must renew it (coordinator doctor)",
    ),
    _OTHER_HOST: ("it is for another name", _ADD_IT),
    _OTHER_ADDRESS: ("it is for another address", _ADD_IT),
}


def pinned_context(ca_pem: bytes) -> ssl.SSLContext:
    """TLS 1.3 and up, trusting this one authority, names checked; raises TransportError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TransportError(
            "the pinned certificate authority cannot be read; join again"
        ) from error
    return context


def why_refused(error: ssl.SSLError) -> str:
    """What is wrong and what to do, in one sentence, about a handshake that failed."""
    return ": ".join(refused(error))


def refused(error: ssl.SSLError) -> tuple[str, str]:
    """(what is wrong, what to do) about a handshake that failed."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"no TLS 1.3 connection comes about ({error.reason or error})",
            "check the address; a proxy in between must speak TLS 1.3",
        )
    known = _KNOWN.get(error.verify_code)
    if known is not None:
        return known
    return (
        f"it does not come from the pinned authority ({error.verify_message})",
        "somebody is in between, or the coordinator was set up anew; go on only when its operator explains it",
    )


def not_yet_valid(error: ssl.SSLCertVerificationError) -> bool:
    """Whether waiting may mend it: by this machine's clock the certificate begins later."""
    return error.verify_code == _NOT_YET_VALID


def find_refusal(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The certificate error underneath a client library's exception."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
