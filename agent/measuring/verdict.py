"""Whether a camera's pictures are answered as fast as they come, as a sentence."""

import math

ENOUGH = 1.2  # of the time between two pictures that has to stay free for reading them


def for_camera(p99_ms: float, fps: float) -> tuple[bool, str]:
    """Whether it holds, and the sentence; `p99_ms` of one picture."""
    rate = f"{fps:g} frames a second"
    spare = 1e3 / fps / p99_ms
    if spare >= ENOUGH:
        return True, f"{p99_ms:.3g} ms at p99: {rate} with {spare:.2g}x to spare"
    most = 1e3 / (ENOUGH * p99_ms)
    return False, (
        f"{p99_ms:.3g} ms at p99: not {rate}; about {most:.3g} frames a second, so take one frame "
        f"in {math.ceil(fps / most)}, or a smaller model (agent optimize)"
    )
