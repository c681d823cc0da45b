"""The flags of `run` and `create` as the body of the API's create call. Pure but for the files that flags name."""

from collections.abc import Mapping, Sequence
from typing import Any

from orlop.cli.mounts import parse_mount, parse_volume_flag
from orlop.cli.words import parse_bytes, parse_pairs, read_pairs_file, resolve_variables
from orlop.client.errors import ClientError

Flags = Mapping[str, Any]

_LATER = {  # flags of Docker's that are understood, and refused
    "publish": "publishing ports comes later: reach the container by its address or use --network host",
    "publish_all": "publishing ports comes later: reach the container by its address (orlop inspect)",
    "storage_opt": "the writable layer has no size limit of its own yet: put data into volumes",
    "link": "links are not supported: use addresses or --add-host",
    "network_alias": "names on networks come later: use --add-host",
    "ip": "fixed addresses come later",
    "mac_address": "fixed addresses come later",
    "health_cmd": "health checks come later",
    "gpus": "devices are given by --device",
    "isolation": "it is an option of Windows hosts",
}


def render_request(flags: Flags, image: str, command: Sequence[str]) -> dict[str, Any]:
    """The JSON of POST /containers/create. Raises ClientError (exit status 125) for what makes no sense."""
    refuse_unsupported(flags)
    attached = attached_streams(flags)
    config: dict[str, Any] = {
        "Image": image,
        "Cmd": list(command) or None,
        "Hostname": flags["hostname"] or "",
        "Domainname": flags["domainname"] or "",
        "User": flags["user"] or "",
        "WorkingDir": flags["workdir"] or "",
        "Tty": flags["tty"],
        "OpenStdin": flags["interactive"],
        "StdinOnce": flags["interactive"] and "stdin" in attached,
        "AttachStdin": "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "Env": _environment(flags),
        "Labels": parse_pairs([*_from_files(flags["label_file"], "--label-file"), *flags["label"]]),
        "ExposedPorts": {_port(text): {} for text in flags["expose"]},
    }
    if flags["entrypoint"] is not None:
        config["Entrypoint"] = [flags["entrypoint"]] if flags["entrypoint"] else [""]
    if flags["stop_signal"]:
        config["StopSignal"] = flags["stop_signal"]
    if flags["stop_timeout"] is not None:
        config["StopTimeout"] = _integer(flags, "stop_timeout")
    binds, anonymous = _volumes(flags["volume"])
    config["Volumes"] = {path: {} for path in anonymous}
    config["HostConfig"] = {"Binds": binds, **_host(flags), **_resources(flags)}
    return config


def attached_streams(flags: Flags) -> frozenset[str]:
    """stdin, stdout, stderr: those that the command connects."""
    if flags.get("detach"):
        return frozenset()
    chosen = {stream.lower() for stream in flags["attach"]}
    if unknown := chosen - {"stdin", "stdout", "stderr"}:
        raise ClientError(f"--attach {min(unknown)}: use stdin, stdout or stderr", 125)
    if not chosen:
        chosen = {"stdout", "stderr"} | ({"stdin"} if flags["interactive"] else set())
    return frozenset(chosen)


def refuse_unsupported(flags: Flags) -> None:
    """Raises ClientError for the first flag that this version cannot honour."""
    for name, reason in _LATER.items():
        if flags.get(name):
            raise ClientError(f"--{name.replace('_', '-')}: {reason}", 125)
    if flags["pull"] == "always":
        raise ClientError(
            "--pull always: registries come later; bring images in by `orlop load` or `orlop import`", 125
        )
    if flags.get("detach") and flags["attach"]:
        raise ClientError("--detach and --attach exclude each other", 125)
    if flags["rm"] and flags["restart"] not in (None, "", "no"):
        raise ClientError("--rm and --restart exclude each other", 125)


def _host(flags: Flags) -> dict[str, Any]:
    return {
        "Mounts": [parse_mount(text) for text in flags["mount"]],
        "Tmpfs": dict(_split_tmpfs(text) for text in flags["tmpfs"]),
        "VolumesFrom": list(flags["volumes_from"]),
        "VolumeDriver": flags["volume_driver"] or "",
        "NetworkMode": flags["network"] or "default",
        "AutoRemove": flags["rm"],
        "RestartPolicy": parse_restart(flags["restart"] or "no"),
        "Privileged": flags["privileged"],
        "CapAdd": list(flags["cap_add"]),
        "CapDrop": list(flags["cap_drop"]),
        "ReadonlyRootfs": flags["read_only"],
        "Dns": list(flags["dns"]),
        "DnsOptions": list(flags["dns_option"]),
        "DnsSearch": list(flags["dns_search"]),
        "ExtraHosts": [_extra_host(text) for text in flags["add_host"]],
        "GroupAdd": list(flags["group_add"]),
        "PidMode": flags["pid"] or "",
        "IpcMode": flags["ipc"] or "",
        "UTSMode": flags["uts"] or "",
        "UsernsMode": flags["userns"] or "",
        "SecurityOpt": _security_options(flags["security_opt"]),
        "Sysctls": parse_pairs(flags["sysctl"]),
        "ShmSize": parse_bytes(flags["shm_size"], "--shm-size") if flags["shm_size"] else 0,
        "Init": True if flags["init"] else None,
        "OomScoreAdj": _integer(flags, "oom_score_adj"),
        "Runtime": flags["runtime"] or "",
        "LogConfig": {"Type": flags["log_driver"] or "", "Config": parse_pairs(flags["log_opt"])},
    }


def _resources(flags: Flags) -> dict[str, Any]:
    def size(name: str) -> int:
        return parse_bytes(flags[name], f"--{name.replace('_', '-')}") if flags[name] else 0

    return {
        "Memory": size("memory"),
        "MemorySwap": size("memory_swap"),
        "MemoryReservation": size("memory_reservation"),
        "NanoCpus": parse_cpus(flags["cpus"]),
        "CpuShares": _integer(flags, "cpu_shares"),
        "CpuPeriod": _integer(flags, "cpu_period"),
        "CpuQuota": _integer(flags, "cpu_quota"),
        "CpusetCpus": flags["cpuset_cpus"] or "",
        "CpusetMems": flags["cpuset_mems"] or "",
        "PidsLimit": _integer(flags, "pids_limit") or None,
        "OomKillDisable": flags["oom_kill_disable"],
        "CgroupParent": flags["cgroup_parent"] or "",
        "Ulimits": [parse_ulimit(text) for text in flags["ulimit"]],
        "Devices": [parse_device(text) for text in flags["device"]],
    }


def _environment(flags: Flags) -> list[str]:
    return resolve_variables([*_from_files(flags["env_file"], "--env-file"), *flags["env"]])


def _from_files(paths: Sequence[str], flag: str) -> list[str]:
    return [line for path in paths for line in read_pairs_file(path, flag)]


def _volumes(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(-v with a source, -v without), each once."""
    binds: dict[str, None] = {}
    anonymous: dict[str, None] = {}
    for text in texts:
        bind = parse_volume_flag(text)
        (binds if ":" in bind else anonymous)[bind] = None
    return list(binds), list(anonymous)


def _split_tmpfs(text: str) -> tuple[str, str]:
    path, _, options = text.partition(":")
    return path, options


def parse_restart(text: str) -> dict[str, Any]:
    name, separator, count = text.partition(":")
    known = name in ("no", "always", "unless-stopped", "on-failure")
    if not known or (separator and (name != "on-failure" or not count.isdigit())):
        raise ClientError(f"--restart {text!r}: use no, always, unless-stopped or on-failure[:N]", 125)
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def parse_cpus(text: str | None) -> int:
    """Billionths of a processor."""
    if not text:
        return 0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ClientError(f"--cpus {text!r}: use a number such as 1.5", 125)
    return round(value * 1e9)


def parse_ulimit(text: str) -> dict[str, Any]:
    name, separator, limits = text.partition("=")
    soft, has_hard, hard = limits.partition(":")
    try:
        if not name or not separator:
            raise ValueError
        return {"Name": name, "Soft": int(soft), "Hard": int(hard if has_hard else soft)}
    except ValueError:
        raise ClientError(f"--ulimit {text!r}: use NAME=SOFT[:HARD], such as nofile=1024:2048", 125) from None


def parse_device(text: str) -> dict[str, str]:
    parts = text.split(":")
    source, rest = parts[0], parts[1:]
    permissions = "rwm"
    if rest and rest[-1] and set(rest[-1]) <= set("rwm"):
        permissions = rest.pop()
    target = rest.pop(0) if rest else source
    if rest or not source or not target.startswith("/"):
        raise ClientError(f"--device {text!r}: use /dev/HOST[:/dev/CONTAINER[:rwm]]", 125)
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": permissions}


def _extra_host(text: str) -> str:
    name, separator, address = text.replace("=", ":", 1).partition(":")
    if not separator or not name or not address:
        raise ClientError(f"--add-host {text!r}: use NAME:ADDRESS", 125)
    return f"{name}:{address}"


def _security_options(options: Sequence[str]) -> list[str]:
    """A seccomp profile is sent as its content: the daemon may be elsewhere."""
    sent = []
    for option in options:
        key, _, value = option.replace(":", "=", 1).partition("=")
        if key == "seccomp" and value not in ("", "unconfined", "builtin"):
            from pathlib import Path

            try:
                option = f"seccomp={Path(value).read_text(encoding='utf-8')}"
            except OSError as error:
                raise ClientError(f"--security-opt {option}: {error.strerror}", 125) from error
        sent.append(option)
    return sent


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _integer(flags: Flags, name: str) -> int:
    text = flags[name]
    if text is None:
        return 0
    try:
        return int(text)
    except ValueError:
        raise ClientError(f"--{name.replace('_', '-')} {text!r}: use a whole number", 125) from None
