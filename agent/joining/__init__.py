"""From a token to a pinned coordinator and a place on the roster; every signed question outside rounds."""

__all__ = ["authority", "cuttable", "enrollment", "signed_post", "whoami"]
