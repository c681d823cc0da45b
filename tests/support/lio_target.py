"""The kernel's own iSCSI target (LIO), told what to do by its files in configfs. For a kernel that has it; each LUN's
bytes in a file."""

import re
from contextlib import suppress
from pathlib import Path

from orlop.kernel.mounts import is_mount_point, mount

NAME = "iqn.2026-11.test:lio"
PORTAL = "127.0.0.1:3260"
_CONFIG = Path("/sys/kernel/config")
_TARGET = _CONFIG / "target"
_GROUP = _TARGET / "iscsi" / NAME / "tpgt_1"
_OPEN_TO_ALL = {
    "generate_node_acls": "1",
    "demo_mode_write_protect": "0",
    "cache_dynamic_acls": "1",
    "authentication": "0",
}
_GIVES_BACK = {"emulate_tpu": "1", "emulate_tpws": "1", "max_write_same_len": "262144"}


class LioTarget:
    def __init__(self, place: Path) -> None:
        self.place = place
        if not is_mount_point(_CONFIG):
            mount("config", _CONFIG, "configfs")
        reservations = place / "target"
        (reservations / "pr").mkdir(parents=True)
        with suppress(OSError):  # said once for as long as the kernel lives
            (_TARGET / "dbroot").write_text(str(reservations))
        (_GROUP / "np" / PORTAL).mkdir(parents=True, exist_ok=True)
        for name, value in _OPEN_TO_ALL.items():
            (_GROUP / "attrib" / name).write_text(value)
        self.switch(True)

    def lun(self, number: int, size_bytes: int = 64 << 20) -> Path:
        """A device; the file with its bytes. One that is there already takes that size."""
        path, disk = self.lun_file(number), _TARGET / "core" / f"fileio_{number}" / "disk"
        if disk.exists():
            self.remove(number)
        with path.open("ab") as file:
            file.truncate(size_bytes)
        disk.mkdir(parents=True)
        (disk / "control").write_text(f"fd_dev_name={path},fd_dev_size={size_bytes}")
        (disk / "enable").write_text("1")
        for name, value in _GIVES_BACK.items():
            (disk / "attrib" / name).write_text(value)
        shown = _GROUP / "lun" / f"lun_{number}"
        shown.mkdir()
        (shown / "disk").symlink_to(disk)
        return path

    def lun_file(self, number: int) -> Path:
        return self.place / f"lun{number}.img"

    def remove(self, number: int) -> None:
        disk, shown = _TARGET / "core" / f"fileio_{number}" / "disk", _GROUP / "lun" / f"lun_{number}"
        (shown / "disk").unlink()
        shown.rmdir()
        disk.rmdir()
        disk.parent.rmdir()

    def switch(self, on: bool) -> None:
        """Off: its sessions end, and none begins."""
        (_GROUP / "enable").write_text("1" if on else "0")

    def require(self, user: str, password: str) -> None:
        (_GROUP / "auth" / "userid").write_text(user)
        (_GROUP / "auth" / "password").write_text(password)
        (_GROUP / "attrib" / "authentication").write_text("1")

    def open(self) -> None:
        """To everybody."""
        (_GROUP / "attrib" / "authentication").write_text("0")

    def reserved_by(self, number: int) -> str:
        """The initiator's name; "" where nobody has reserved it."""
        said = (_TARGET / "core" / f"fileio_{number}" / "disk" / "pr" / "res_holder").read_text()
        found = re.search(r"Initiator: (iqn[^,\s]+)", said)
        return found[1] if found else ""

    def options(self, number: int, **more: str) -> dict[str, str]:
        return {"portal": PORTAL, "target": NAME, "lun": str(number), "via": "kernel", **more}
