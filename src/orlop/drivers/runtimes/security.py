"""What a container's processes may do by default: capabilities, masked and read-only paths.

The lists are Docker's, so that an image that runs there runs here, with neither more nor less.
"""

from collections.abc import Sequence

from orlop.errors import Malformed

# In the order of their numbers (include/uapi/linux/capability.h); the index is the number.
ALL_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

_EVERYTHING = "ALL"


def effective_capabilities(
    cap_add: Sequence[str], cap_drop: Sequence[str], privileged: bool, available: Sequence[str] = ALL_CAPABILITIES
) -> tuple[str, ...]:
    """The set a process gets, in the kernel's order. `available` is what this host can give at all.

    Docker's rule for ALL: adding it starts from every capability and takes the dropped ones away; dropping it starts
    from none and adds the added ones. An explicit name wins over the other list's ALL.
    """
    added, dropped = normalised(cap_add), normalised(cap_drop)
    if privileged:
        chosen = set(available)
    elif _EVERYTHING in added:
        chosen = set(available) - set(dropped)
    elif _EVERYTHING in dropped:
        chosen = set(added)
    else:
        chosen = (set(DEFAULT_CAPABILITIES) - set(dropped)) | set(added)
    return tuple(name for name in ALL_CAPABILITIES if name in chosen and name in available)


def normalised(names: Sequence[str]) -> tuple[str, ...]:
    """`net_admin` and `CAP_NET_ADMIN` are the same; ALL stays. Malformed for what the kernel does not know."""
    result = []
    for name in names:
        upper = name.strip().upper()
        if upper in (_EVERYTHING, "CAP_ALL"):
            result.append(_EVERYTHING)
            continue
        full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
        if full not in ALL_CAPABILITIES:
            raise Malformed("invalid capability", f'unknown capability "{full}"', "See capabilities(7) for the names")
        result.append(full)
    return tuple(result)


def capabilities_in_mask(mask: int) -> tuple[str, ...]:
    """The names of the bits of CapBnd or its like in /proc/<pid>/status."""
    return tuple(name for number, name in enumerate(ALL_CAPABILITIES) if mask >> number & 1)
