"""What the two sides say to each other and sign: messages, plan, roster, identities, joining."""

__all__ = [
    "canonical",
    "certificates",
    "condition",
    "identity",
    "join",
    "messages",
    "plan",
    "request_signature",
    "roster",
    "standing",
    "tokens",
    "versions",
]
