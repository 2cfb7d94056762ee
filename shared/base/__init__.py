"""Errors, exit codes, files that survive a crash, clock, names, configuration: what everything stands on."""

__all__ = [
    "clock",
    "config",
    "errors",
    "exit_codes",
    "failpoints",
    "files",
    "installed",
    "json_text",
    "names",
    "peer_json",
    "schedule",
]
