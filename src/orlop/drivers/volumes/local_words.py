"""The words of `o`, as in fstab: which are flags of mount(2), which the file system's own. Pure."""

import re
from urllib.parse import urlsplit

from orlop.drivers.volumes.local_rules import MountOptions
from orlop.kernel import mounts
from orlop.kernel.mounts import MountEntry
from orlop.model.value import dataclass

# Words that become flags of mount(2): (bits to set, bits to clear). All others are the file system's own.
_FLAGS: dict[str, tuple[int, int]] = {
    "defaults": (0, 0),
    "rw": (0, mounts.MS_RDONLY),
    "ro": (mounts.MS_RDONLY, 0),
    "suid": (0, mounts.MS_NOSUID),
    "nosuid": (mounts.MS_NOSUID, 0),
    "dev": (0, mounts.MS_NODEV),
    "nodev": (mounts.MS_NODEV, 0),
    "exec": (0, mounts.MS_NOEXEC),
    "noexec": (mounts.MS_NOEXEC, 0),
    "async": (0, mounts.MS_SYNCHRONOUS),
    "sync": (mounts.MS_SYNCHRONOUS, 0),
    "dirsync": (mounts.MS_DIRSYNC, 0),
    "mand": (mounts.MS_MANDLOCK, 0),
    "nomand": (0, mounts.MS_MANDLOCK),
    "atime": (0, mounts.MS_NOATIME),
    "noatime": (mounts.MS_NOATIME, 0),
    "diratime": (0, mounts.MS_NODIRATIME),
    "nodiratime": (mounts.MS_NODIRATIME, 0),
    "relatime": (mounts.MS_RELATIME, 0),
    "norelatime": (0, mounts.MS_RELATIME),
    "strictatime": (mounts.MS_STRICTATIME, 0),
    "nostrictatime": (0, mounts.MS_STRICTATIME),
    "bind": (mounts.MS_BIND, 0),
    "rbind": (mounts.MS_BIND | mounts.MS_REC, 0),
}
_PROPAGATION = {
    "private": mounts.MS_PRIVATE,
    "rprivate": mounts.MS_PRIVATE | mounts.MS_REC,
    "slave": mounts.MS_SLAVE,
    "rslave": mounts.MS_SLAVE | mounts.MS_REC,
    "shared": mounts.MS_SHARED,
    "rshared": mounts.MS_SHARED | mounts.MS_REC,
    "unbindable": mounts.MS_UNBINDABLE,
    "runbindable": mounts.MS_UNBINDABLE | mounts.MS_REC,
}
# Words for the programs that read /etc/fstab, from which people copy them. The kernel knows none, and many file systems
# refuse what they do not know.
_FOR_FSTAB = frozenset({"_netdev", "nofail", "auto", "noauto", "nouser"})
_FOR_FSTAB_BEGINS = ("x-", "X-", "comment=")
_ATIME = mounts.MS_NOATIME | mounts.MS_RELATIME | mounts.MS_STRICTATIME
_SHOWN = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime")
_CIFS = ("cifs", "smb3")
_RESOLVED = ("nfs", "nfs4", *_CIFS)
_CREDENTIALS = ("credentials=", "cred=")
_CREDENTIAL_KEYS = {
    **dict.fromkeys(("username", "user"), "username"),
    **dict.fromkeys(("password", "pass"), "password"),
    **dict.fromkeys(("domain", "dom", "workgroup"), "domain"),
}
_NFS_DEVICE = re.compile(r"(\[[^\]]+\]|[^\[\]:/]+):/.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MountWords:
    flags: int = 0
    cleared: int = 0  # bits that a word takes away, for a bind mount that begins with those of its source
    data: str = ""
    propagation: int = 0  # to be set afterwards; 0: as it comes
    is_loop: bool = False  # the device is a file, to be had as a block device

    @property
    def is_bind(self) -> bool:
        return bool(self.flags & mounts.MS_BIND)


def parse_mount_words(words: str) -> MountWords:
    flags, cleared, propagation, is_loop = 0, 0, 0, False
    data: list[str] = []
    for word in words.split(","):  # an empty one stays: two commas in a row are one in a value, for cifs
        if word in _FLAGS:
            add, remove = _FLAGS[word]
            flags = (flags | add) & ~remove
            cleared = (cleared | remove) & ~add
        elif word in _PROPAGATION:
            propagation = _PROPAGATION[word]
        elif word == "loop":
            is_loop = True
        elif word not in _FOR_FSTAB and not word.startswith(_FOR_FSTAB_BEGINS):
            data.append(word)
    return MountWords(flags, cleared, ",".join(data), propagation, is_loop)


def owner_words(options: MountOptions) -> str:
    """Memory has its owner from the first moment."""
    if options.fs_type != "tmpfs":
        return ""
    ids = [f"{key}={value}" for key, value in (("uid", options.uid), ("gid", options.gid)) if value is not None]
    return ",".join(ids if options.mode is None else [*ids, f"mode={options.mode:o}"])


def limit_words(options: MountOptions, data: str) -> list[str]:
    """What `o` says itself (`data`) goes before `size` and `inodes`."""
    if options.fs_type != "tmpfs":
        return []
    said = {word.partition("=")[0] for word in data.split(",")}
    wanted = (("size", options.quota_bytes), ("nr_inodes", options.inodes + 1 if options.inodes else 0))
    return [f"{key}={value}" for key, value in wanted if value and key not in said]


def remount_flags(words: MountWords, entry: MountEntry) -> int:
    """What a bind mount is to have: the flags of what it shows (`entry`, as it was mounted), and what the words say. A
    remount sets all of them at once, so one that is not named again would be lost."""
    inherited = 0
    for word in entry.options.split(","):
        if word in _SHOWN:
            inherited |= _FLAGS[word][0]
    wanted = words.flags & ~(mounts.MS_BIND | mounts.MS_REC)
    if wanted & _ATIME:
        inherited &= ~_ATIME
    return (inherited & ~words.cleared) | wanted


def host_to_resolve(options: MountOptions) -> str:
    """The name that the kernel wants as an address (`addr=`); "" where it wants none."""
    if options.fs_type not in _RESOLVED:
        return ""
    for word in options.options.split(","):
        if word.startswith("addr="):
            return word.removeprefix("addr=")
    if options.fs_type in _CIFS:
        return urlsplit(options.device).hostname or ""
    found = _NFS_DEVICE.fullmatch(options.device)
    return found[1].strip("[]") if found else ""


def with_address(words: str, address: str) -> str:
    """`o` with the first `addr=` replaced, or with one."""
    parts = words.split(",") if words else []
    for position, word in enumerate(parts):
        if word.startswith("addr="):
            parts[position] = f"addr={address}"
            return ",".join(parts)
    return ",".join([*parts, f"addr={address}"])


def credentials_file(options: MountOptions) -> str:
    """Where the user and the password stand, for cifs; "" when they do not stand in a file."""
    if options.fs_type not in _CIFS:
        return ""
    found = [word for word in options.options.split(",") if word.startswith(_CREDENTIALS)]
    return found[0].partition("=")[2] if found else ""


def with_credentials(words: str, text: str) -> str:
    """`o` with what stands in such a file (mount.cifs(8)) in the place of its name. A comma in a value is doubled."""
    kept = [word for word in words.split(",") if not word.startswith(_CREDENTIALS)]
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        key = _CREDENTIAL_KEYS.get(key.strip().lower(), "")
        if key and separator:
            kept.append(f"{key}={value.replace(',', ',,')}")
    return ",".join(kept)
