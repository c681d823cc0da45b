"""Storage as rclone is told of it: the backend, its settings, the place in it."""

from collections.abc import Mapping
from dataclasses import field

from orlop.drivers.volumes.storage_mark import IF_EMPTY
from orlop.model.value import dataclass
from orlop.model.volume import hide_in_device

REMOTE = "remote"  # what it is called in the configuration


@dataclass(frozen=True, slots=True)
class Remote:
    """What rclone is asked to mount."""

    kind: str  # rclone's name of the backend: s3, smb, sftp, webdav, ...
    settings: Mapping[str, str]  # of the backend, secrets among them
    path: str  # within it: bucket, share, directory
    files: Mapping[str, str] = field(default_factory=dict)  # setting -> content of the file it wants
    cache_mode: str = "writes"
    cache_size: str = ""
    read_only: bool = False
    uid: str = ""
    gid: str = ""
    umask: str = ""
    upload_wait_seconds: float = 60.0
    mark: str = IF_EMPTY

    @property
    def where(self) -> str:
        """For people."""
        address = self.settings.get("endpoint") or self.settings.get("url") or self.settings.get("host", "")
        port = self.settings.get("port", "")
        at = f" at {hide_in_device(address)}{port and ':'}{port}" if address else ""
        return f"{self.kind} {self.path}".strip() + at


def configuration(remote: Remote, places: Mapping[str, str] | None = None) -> str:
    """`places`: where its files are; by default in the directory that rclone runs in."""
    settings = {**remote.settings, **{name: (places or {}).get(name, name) for name in remote.files}}
    lines = [f"[{REMOTE}]", f"type = {remote.kind}", *(f"{key} = {value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"
