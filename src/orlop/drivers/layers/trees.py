"""A directory as a detached mount that can only be read."""

import os
from pathlib import Path

from orlop.kernel.mounts import MOUNT_ATTR_RDONLY, MS_PRIVATE, mount_setattr, open_tree

_AT_FDCWD = -100


def read_only_tree(directory: Path) -> int:
    """The caller closes it."""
    tree = open_tree(_AT_FDCWD, str(directory))
    try:
        mount_setattr(tree, set_flags=MOUNT_ATTR_RDONLY, propagation=MS_PRIVATE)
    except BaseException:
        os.close(tree)
        raise
    return tree
