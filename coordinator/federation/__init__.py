"""Who belongs and why devices can trust this server: enrolment, roster files, certificates."""

__all__ = [
    "certificate_keeper",
    "certificates",
    "enrollment",
    "membership",
    "rate_limit",
    "roster_files",
    "tls",
]
