"""What a create request may say where the words are Docker's own: refused at once, not at the first start."""

from orlop.docker.wire import container as wire
from orlop.errors import Malformed, OrlopError, Unsupported

LOG_DRIVERS = ("json-file", "local", "none")
LOG_OPTIONS_APPLIED = ("max-size",)
RESTART_POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
MIN_MEMORY_BYTES = 6 << 20
_NO_NEW_PRIVILEGES = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")
_NEW_PRIVILEGES = ("no-new-privileges:false", "no-new-privileges=false")
_APPARMOR_OFF = ("unconfined", "docker-default")


def check_host(host: wire.HostConfig) -> list[str]:
    """Warnings. Raises Malformed, Unsupported."""
    check_restart_policy(host)
    check_limits(host)
    _check_modes(host)
    for option in host.SecurityOpt or ():
        _check_security_option(option)
    if host.ShmSize < 0:
        raise Malformed("", "SHM size can not be less than 0")
    return _check_logging(host.LogConfig)


def _check_logging(config: wire.LogConfig) -> list[str]:
    if config.Type not in ("", *LOG_DRIVERS):
        raise Unsupported(f"logging driver {config.Type}", "is not supported", f"Use one of {', '.join(LOG_DRIVERS)}")
    options = config.Config or {}
    return [f"log option {name}: is not applied" for name in options if name not in LOG_OPTIONS_APPLIED]


def check_restart_policy(host: wire.HostConfig) -> None:
    policy = host.RestartPolicy
    if policy.Name not in RESTART_POLICIES:
        raise Malformed("", f"invalid restart policy '{policy.Name}'", "Use no, always, unless-stopped or on-failure")
    if policy.MaximumRetryCount and policy.Name != "on-failure":
        raise Malformed("", f"maximum retry count cannot be used with restart policy '{policy.Name or 'no'}'")
    if policy.MaximumRetryCount < 0:
        raise Malformed("", "maximum retry count cannot be negative")
    if host.AutoRemove and policy.Name not in ("", "no"):
        raise Malformed("", "can't create 'AutoRemove' container with restart policy")


def check_limits(host: wire.HostConfig) -> None:
    """The contradictions that dockerd refuses, in its words."""
    reason = ""
    if 0 < host.Memory < MIN_MEMORY_BYTES:
        reason = "Minimum memory limit allowed is 6MB"
    elif host.Memory > 0 and 0 < host.MemorySwap < host.Memory:
        reason = "Minimum memoryswap limit should be larger than memory limit, see usage"
    elif host.Memory == 0 and host.MemorySwap > 0:
        reason = "You should always set the Memory limit when using Memoryswap limit, see usage"
    elif 0 < host.Memory < host.MemoryReservation:
        reason = "Minimum memory limit can not be less than memory reservation limit, see usage"
    elif host.NanoCpus and (host.CpuPeriod or host.CpuQuota):
        reason = "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set"
    elif host.NanoCpus < 0:
        reason = "range of CPUs must not be negative"
    elif host.CpuPeriod and not 1000 <= host.CpuPeriod <= 1_000_000:
        reason = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
    elif 0 < host.CpuQuota < 1000:
        reason = "CPU cfs quota can not be less than 1ms (i.e. 1000)"
    elif not -1000 <= host.OomScoreAdj <= 1000:
        reason = f"Invalid value {host.OomScoreAdj}, range for oom score adj is [-1000, 1000]"
    if reason:
        raise Malformed("", reason)


def _check_modes(host: wire.HostConfig) -> None:
    if host.IpcMode == "none":
        raise Unsupported("IPC mode none", "a container without /dev/shm is not supported", "Use private")
    allowed = {
        "PID": (host.PidMode, ("", "host")),
        "IPC": (host.IpcMode, ("", "private", "shareable", "host")),
        "UTS": (host.UTSMode, ("", "host")),
    }
    for kind, (mode, words) in allowed.items():
        joins = kind != "UTS" and mode.startswith("container:") and mode != "container:"
        if mode not in words and not joins:
            raise Malformed("", f"invalid {kind} mode: {mode}")


def _check_security_option(option: str) -> None:
    """What is asked for beyond the default must be kept, or refused; what takes protection away is applied."""
    if option in _NO_NEW_PRIVILEGES or option in _NEW_PRIVILEGES:
        return
    key, separator, value = option.partition("=")
    if not separator:
        key, separator, value = option.partition(":")  # the older spelling
    refusal: OrlopError | None = None
    match key:
        case "seccomp" if value:
            pass
        case "apparmor" if value in _APPARMOR_OFF:
            pass
        case "apparmor":
            refusal = Unsupported(f"AppArmor profile {value}", "profiles cannot be chosen yet", "Leave it out")
        case "label" if value:
            pass  # without SELinux labels mean nothing, as with dockerd
        case "systempaths" if value == "unconfined":
            pass
        case _:
            refusal = Malformed("", f'invalid --security-opt: "{option}"')
    if refusal is not None:
        raise refusal
