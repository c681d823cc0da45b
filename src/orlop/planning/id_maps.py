"""Which id on disk is shown as which in a container, for a mount that shows its owner as somebody else.

The two ids change places and all others stay: every id is shown as exactly one, and back. Mapping the one alone would
leave files of the other without a name.
"""

from collections.abc import Sequence

ALL_IDS = 2**32 - 1  # the last 32-bit number means "no id"

Extent = tuple[int, int, int]  # first id on disk, first id as shown, how many


def swap_ids(on_disk: int, shown: int) -> Sequence[Extent]:
    """The whole table, in order of the ids on disk."""
    low, high = sorted((on_disk, shown))
    if low == high:
        return ((0, 0, ALL_IDS),)
    extents = (
        (0, 0, low),
        (low, high, 1),
        (low + 1, low + 1, high - low - 1),
        (high, low, 1),
        (high + 1, high + 1, ALL_IDS - high - 1),
    )
    return tuple(extent for extent in extents if extent[2] > 0)
