"""Removing a directory at once: a rename, and the deleting later.

<root>/.trash/<name>.<random>    put aside; nothing reads it any more; deleted by `empty`
"""

import errno
import logging
import secrets
import threading
from pathlib import Path

from orlop.archive.worker import remove_aside
from orlop.errors import OrlopError
from orlop.store.files import remove_tree

_log = logging.getLogger(__name__)


class Trash:
    def __init__(self, root: Path) -> None:
        self._folder = root / ".trash"
        self._emptying = threading.Lock()

    def put(self, path: Path) -> None:
        """`path` is gone when this returns. What is gone already is success."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path.rename(self._folder / f"{path.name}.{secrets.token_hex(4)}")
        except FileNotFoundError:
            if path.exists():
                raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            remove_tree(path)  # slower, but deleting is what a full disk needs

    def empty(self) -> None:
        """What cannot be deleted now is named in the log and tried again the next time."""
        with self._emptying:
            if not self._folder.is_dir():
                return
            for path in self._folder.iterdir():
                try:
                    remove_aside(path)
                except (OSError, OrlopError) as error:
                    _log.warning("deleting %s, put aside before: %s", path, error)
