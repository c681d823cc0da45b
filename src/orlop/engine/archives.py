"""Files in and out of containers (`docker cp`), running or stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class PathStat:
    name: str
    size_bytes: int
    mode: int  # st_mode as stat(2) gives it
    mtime_ns: int
    link_target: str


class Archives:
    def stat(self, reference: str, path: str) -> PathStat:
        raise NotImplementedError

    def get(self, reference: str, path: str, out: BinaryIO) -> None:
        """The file or directory as a tar, its members named from the last part of `path`."""
        raise NotImplementedError

    def put(self, reference: str, path: str, archive: Path, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool) -> None:
        """Unpack an archive into the directory `path`."""
        raise NotImplementedError
