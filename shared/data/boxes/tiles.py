"""Large pictures in overlapping squares, so that small things in them stay large enough to be found.

One picture then is several records, and a thing near a border stands in two of them.
"""

OVERLAP = 0.2  # of a tile's side
MOST_TILES = 64  # of one picture

Part = tuple[int, int, int, int]  # x1, y1, x2, y2


def parts(width: int, height: int, tile: int) -> list[Part]:
    """Squares of `tile` pixels that cover a picture, row by row; the whole of it for 0 or where it is no larger."""
    if not tile or max(width, height) <= tile:
        return [(0, 0, width, height)]
    return [
        (x, y, min(x + tile, width), min(y + tile, height))
        for y in _starts(height, tile)
        for x in _starts(width, tile)
    ]


def _starts(length: int, tile: int) -> list[int]:
    """Evenly, the first at 0 and the last at the end, each at least OVERLAP of a tile before the next."""
    if length <= tile:
        return [0]
    step = tile - round(tile * OVERLAP)
    count = 1 + -(-(length - tile) // step)
    return [round(at * (length - tile) / (count - 1)) for at in range(count)]
