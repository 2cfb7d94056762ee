"""A device's own log for the length of a test: the process has one logger, and others use it after us."""

import contextlib
import logging

from edgeveil.agent.home.log import log_to


@contextlib.contextmanager
def logged_to(path, clock):
    """The handler that writes to `path`, at work until this ends."""
    logger = logging.getLogger("edgeveil")
    before = logger.handlers[:], logger.propagate, logger.level, logging.raiseExceptions
    log_to(path, clock)
    (handler,) = (one for one in logger.handlers if one not in before[0])
    try:
        yield handler
    finally:
        handler.close()
        logger.handlers[:], logger.propagate, logger.level, logging.raiseExceptions = before
