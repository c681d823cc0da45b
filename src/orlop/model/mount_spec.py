"""How mounts are written: the grammar of `-v` and `--volumes-from`, and what makes a mount request valid.

    -v [source:]destination[:mode,...]        source with a leading slash: a host path; else: a volume
    --volumes-from container[:mode,...]
    --tmpfs destination[:option,...]

Pure rules for Linux containers. The texts are the ones that clients of Docker's API know.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from orlop.errors import Malformed
from orlop.model.mount import IdMapping, MountKind, MountOrigin, MountRequest

_WRITE_WORDS = frozenset({"rw", "ro"})
_LABEL_WORDS = frozenset({"z", "Z"})
PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_COPY_WORDS = frozenset({"nocopy"})
_CONSISTENCY_WORDS = frozenset({"consistent", "cached", "delegated"})  # accepted for the sake of macOS users' files

_OWNER_WORDS = frozenset({"idmap"})  # ours: the owner on disk is shown as the container's user

_BIND_GROUPS = (_WRITE_WORDS, _LABEL_WORDS, PROPAGATIONS, _COPY_WORDS, _CONSISTENCY_WORDS, _OWNER_WORDS)
_INHERIT_GROUPS = (_WRITE_WORDS, _LABEL_WORDS, _CONSISTENCY_WORDS)

# What runc lets a bind cover below /proc: numbers that a container may be shown its own of (lxcfs does).
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)

# A word of a line replaces an earlier word of the same line.
_TMPFS_ALTERNATIVES = (
    ("rw", "ro"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("exec", "noexec"),
    ("sync", "async", "dirsync"),
    ("mand", "nomand"),
    ("atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"),
    ("diratime", "nodiratime"),
    ("defaults",),
    (*sorted(PROPAGATIONS), "unbindable", "runbindable"),
)
_TMPFS_FLAGS = {word: words[0] for words in _TMPFS_ALTERNATIVES for word in words}
_TMPFS_DATA = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_TMPFS_BASE = ("noexec", "nosuid", "nodev", "rprivate")


def parse_bind(spec: str, volume_driver: str = "") -> MountRequest:
    """A `-v` argument that names at least a destination. Raises Malformed with the whole argument in its text."""
    invalid = f"invalid volume specification: '{spec}'"
    parts = spec.split(":", 3)
    if not parts[0] or len(parts) == 4 or (len(parts) == 2 and _is_mode(parts[1], _BIND_GROUPS)):
        # Two parts of which the second is a mode leave open whether the first is the source or the destination.
        raise Malformed("", invalid, "Write [source:]destination[:mode], with an absolute destination")
    mode = parts[2] if len(parts) == 3 else ""
    if not _is_mode(mode, _BIND_GROUPS):
        raise Malformed("", f"invalid mode: {mode}", "Known: ro rw, z Z, nocopy, idmap, and the propagation words")
    words = mode.split(",")
    source, destination = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    kind = MountKind.BIND if source.startswith("/") else MountKind.VOLUME
    request = MountRequest(
        kind=kind,
        destination=destination,
        source=source,
        read_only="ro" in words,
        origin=MountOrigin.BINDS,
        mode=mode,
        propagation=next((word for word in words if word in PROPAGATIONS), ""),
        no_copy="nocopy" in words,
        id_mapping=IdMapping.MATCH_USER if "idmap" in words else IdMapping.NONE,
        create_source=kind is MountKind.BIND,
        driver=volume_driver if kind is MountKind.VOLUME else "",
    )
    try:
        return check_mount_request(request)
    except Malformed as error:
        raise Malformed("", f"{invalid}: {error.why}") from error


def parse_volumes_from(spec: str) -> tuple[str, bool]:
    """The container, and whether its mounts are inherited read-only. Raises Malformed."""
    if not spec:
        raise Malformed("", "volumes-from specification cannot be an empty string")
    container, _, mode = spec.partition(":")
    if not _is_mode(mode, _INHERIT_GROUPS):
        raise Malformed("", f"invalid mode: {mode}", "Known: ro, rw, z, Z")
    return container, "ro" in mode.split(",")


def check_mount_request(request: MountRequest) -> MountRequest:
    """The request with its destination and source cleaned. Raises Malformed saying which field is wrong.

    Whether a bind's source exists is for those who may look at the disk (orlop.engine.surroundings)."""
    reason = _foreign_options(request) or _wrong_destination(request.destination) or _wrong_for_its_kind(request)
    if reason:
        raise Malformed("", f'invalid mount config for type "{request.kind}": {reason}')
    refuse_kernels_place(request.kind, request.source, clean_path(request.destination), request.destination)
    is_path = request.kind is MountKind.BIND
    source = clean_path(request.source) if is_path else request.source
    subpath = posixpath.normpath(request.subpath) if request.subpath else ""
    return replace(request, destination=clean_path(request.destination), source=source, subpath=subpath)


def refuse_kernels_place(kind: MountKind, source: str, place: str, destination: str) -> None:
    """Raises Malformed where the mount would cover what the kernel and the runtime rely on in a container: a file put
    over one of /proc decides what security modules and tools believe. `place` is `destination` without links. The rule
    is runc's: binds may show some numbers, and /sys is open to all (images for systemd have a VOLUME in it)."""
    if place == "/proc":
        if kind is MountKind.BIND and clean_path(source) == "/proc":
            return
        why = f'"{destination}" cannot be mounted because it is not of type proc'
    elif place.startswith("/proc/"):
        if place in _PROC_FILES and kind is MountKind.BIND:
            return
        why = f'"{destination}" cannot be mounted because it is inside /proc'
    else:
        return
    raise Malformed("", f'invalid mount config for type "{kind}": {why}', "Mount it somewhere else in the container")


def clean_path(path: str) -> str:
    """Lexically cleaned: no `.`, no `..`, no doubled or trailing slash."""
    cleaned = posixpath.normpath(path)
    # POSIX lets exactly two leading slashes mean something of their own; Linux does not.
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned


def parse_tmpfs_options(options: str) -> tuple[str, ...]:
    """The options a tmpfs is mounted with: ours, then the user's, a later word of a kind replacing an earlier one.
    Raises Malformed for a word that tmpfs does not know."""
    return merge_tmpfs_options(tuple(filter(None, options.split(","))))


def render_size(size_bytes: int) -> str:
    """With the largest suffix that divides it: 67108864 is "64m"."""
    for shift, suffix in ((30, "g"), (20, "m"), (10, "k")):
        if size_bytes and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift}{suffix}"
    return str(size_bytes)


def merge_tmpfs_options(words: Sequence[str]) -> tuple[str, ...]:
    chosen: dict[str, str] = {_TMPFS_FLAGS[word]: word for word in _TMPFS_BASE}
    for word in words:
        key, separator, value = word.partition("=")
        kind = _TMPFS_FLAGS.get(word, "")
        if separator and value and key in _TMPFS_DATA:
            kind = key
        if not kind:
            raise Malformed("", f'invalid tmpfs option "{word}"', f"Known values: {', '.join(sorted(_TMPFS_DATA))}")
        chosen.pop(kind, None)
        chosen[kind] = word
    chosen.pop("defaults", None)
    return tuple(chosen.values())


def _is_mode(text: str, groups: tuple[frozenset[str], ...]) -> bool:
    """At most one word of each group, in any order; nothing at all is a mode too."""
    if not text:
        return True
    seen = set()
    for word in text.split(","):
        group = next((number for number, words in enumerate(groups) if word in words), None)
        if group is None or group in seen:
            return False
        seen.add(group)
    return True


def _foreign_options(request: MountRequest) -> str:
    """Options that belong to another kind of mount."""
    own = request.kind
    is_data = own in (MountKind.BIND, MountKind.VOLUME)
    if own is not MountKind.BIND and (request.propagation or request.non_recursive):
        return "field BindOptions must not be specified"
    if not is_data and (request.id_mapping or request.read_only_force_recursive):
        return "field BindOptions must not be specified"
    subpath = request.subpath if own is not MountKind.IMAGE else ""
    volume_options = request.no_copy or request.labels or subpath or request.driver or request.driver_options
    if own is not MountKind.VOLUME and volume_options:
        return "field VolumeOptions must not be specified"
    if own is not MountKind.TMPFS and (request.tmpfs_size_bytes or request.tmpfs_mode or request.tmpfs_options):
        return "field TmpfsOptions must not be specified"
    return ""


def _wrong_destination(destination: str) -> str:
    slashed = destination.replace("\\", "/")
    if not destination:
        return "field Target must not be empty"
    if "\x00" in destination:
        return "field Target must not contain a NUL byte"
    if clean_path(slashed) == "/":
        return "invalid specification: destination can't be '/'"
    if not destination.startswith("/"):
        return f"invalid mount path: '{destination}' mount path must be absolute"
    return ""


def _wrong_for_its_kind(request: MountRequest) -> str:
    match request.kind:
        case MountKind.BIND:
            return _wrong_bind(request)
        case MountKind.VOLUME:
            return _wrong_subpath(request)
        case MountKind.TMPFS:
            return _wrong_tmpfs(request)
        case MountKind.IMAGE:
            return _wrong_subpath(request) if request.source else "field Source must not be empty"


def _wrong_bind(request: MountRequest) -> str:
    if not request.source:
        return "field Source must not be empty"
    if not request.source.startswith("/"):
        return f"invalid mount path: '{request.source}' mount path must be absolute"
    if "\x00" in request.source:
        return "field Source must not contain a NUL byte"
    if request.propagation and request.propagation not in PROPAGATIONS:
        return f"invalid propagation mode: {request.propagation}"
    return ""


def _wrong_subpath(request: MountRequest) -> str:
    if not request.subpath:
        return ""
    if not request.source:
        return "must not set Subpath when using anonymous volumes"
    cleaned = posixpath.normpath(request.subpath)
    if cleaned.startswith(("/", "../")) or cleaned == ".." or "\x00" in cleaned:
        return "subpath must be a relative path within the volume"
    return ""


def _wrong_tmpfs(request: MountRequest) -> str:
    if request.source:
        return "field Source must not be specified"
    if request.tmpfs_size_bytes < 0 or request.tmpfs_mode < 0:
        return "size and mode must not be negative"
    if request.origin is MountOrigin.TMPFS:
        return ""
    wrong = next((word for word in request.tmpfs_options if word not in ("exec", "noexec")), "")
    return f"invalid option: {wrong}" if wrong else ""
