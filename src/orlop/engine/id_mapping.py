"""Mounts on which the owner of what is mounted is shown as a container's user.

The ids on disk are the truth and stay; the mount translates, in both directions. So containers with different users
share one volume, and each sees its own user as the owner.
"""

import errno
import os
import threading
from collections.abc import Sequence

from orlop.errors import HostFailure, Unsupported
from orlop.kernel.mounts import MOUNT_ATTR_IDMAP, mount_setattr
from orlop.kernel.user_namespaces import open_user_namespace
from orlop.planning.id_maps import Extent, swap_ids

_KEPT = 32

_Tables = tuple[Sequence[Extent], Sequence[Extent]]


class IdMapping:
    """Thread-safe. Namespaces are kept: making one takes a process, and containers of one kind need the same."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._namespaces: dict[_Tables, int] = {}

    def show_owner_as(self, tree: int, uid: int, gid: int, subject: str, *, recursive: bool) -> None:
        """On a detached tree that nobody has mounted yet. Raises Unsupported where its file system, or one mounted
        below, cannot do so."""
        owner = os.fstat(tree)
        if (owner.st_uid, owner.st_gid) == (uid, gid):
            return
        namespace = self._namespace((swap_ids(owner.st_uid, uid), swap_ids(owner.st_gid, gid)), subject)
        try:
            mount_setattr(tree, set_flags=MOUNT_ATTR_IDMAP, userns_fd=namespace, recursive=recursive)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
                raise
            why = "the file system cannot show files under other ids (an id-mapped mount), or one mounted below it"
            hint = "Leave out idmap; a volume can be given an owner instead: docker volume create -o uid= -o gid="
            raise Unsupported(subject, why, hint) from error
        finally:
            os.close(namespace)

    def _namespace(self, tables: _Tables, subject: str) -> int:
        """The caller closes it."""
        with self._guard:
            known = self._namespaces.pop(tables, None)
            if known is not None:
                self._namespaces[tables] = known  # the last one used is the last in the dictionary
                return os.dup(known)
        try:
            made = open_user_namespace(*tables)
        except OSError as error:
            why = f"the ids cannot be mapped: {error.strerror or error}"
            raise HostFailure(subject, why, "User namespaces must be allowed: user.max_user_namespaces") from error
        with self._guard:
            if tables not in self._namespaces:  # else somebody else made the same meanwhile
                self._namespaces[tables] = os.dup(made)
            while len(self._namespaces) > _KEPT:
                os.close(self._namespaces.pop(next(iter(self._namespaces))))
        return made
