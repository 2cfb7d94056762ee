"""Videos: frames from files and cameras, things followed from frame to frame, counted over lines, drawn.

`tracking` and `counting` are pure: they see numbers and times, and no picture. A detector is whatever gives the
boxes of a frame.
"""

__all__ = ["cameras", "counting", "frames", "line_file", "tracking", "watching"]
