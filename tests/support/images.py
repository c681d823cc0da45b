"""Images made on the spot, from what Debian installs: no registry is asked."""

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = "root:x:0:\ndaemon:x:1:\ntape:x:26:app\napp:x:1000:\nnogroup:x:65534:\n"
DIRECTORIES = {
    **dict.fromkeys(("bin", "dev", "etc", "home", "proc", "sbin", "sys", "usr/bin", "usr/sbin", "var/log"), 493),
    "root": 0o700,
    "tmp": 0o1777,
}


def write_busybox_tar(path: Path, extra_files: Mapping[str, str] | None = None) -> Path:
    """A root file system of one program, its links, and the few files that programs expect."""
    busybox = Path("/bin/busybox")
    applets = subprocess.run([busybox, "--list-full"], check=True, capture_output=True, text=True).stdout.split()
    with tarfile.open(path, "w") as tar:
        for name, mode in DIRECTORIES.items():
            _add(tar, name, type=tarfile.DIRTYPE, mode=mode)
        _add(tar, "bin/busybox", content=busybox.read_bytes(), mode=0o755)
        for applet in applets:
            if applet != "bin/busybox":
                _add(tar, applet, type=tarfile.SYMTYPE, linkname="/bin/busybox", mode=0o777)
        files = {"etc/passwd": PASSWD, "etc/group": GROUP, "etc/os-release": "ID=busybox\n", **(extra_files or {})}
        for name, text in files.items():
            _add(tar, name, content=text.encode())
    return path


def _add(
    tar: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    type: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    linkname: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size, entry.mtime = type, mode, linkname, len(content), 1_600_000_000
    tar.addfile(entry, io.BytesIO(content))
