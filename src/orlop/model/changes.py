"""Dockerfile instructions applied to an image's configuration: `docker import -c`, `docker commit -c`.

Only instructions that change the configuration are allowed; those that make layers are refused in Docker's words.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from posixpath import join, normpath

from orlop.errors import Malformed
from orlop.model.image import ImageConfig
from orlop.model.words import expand, split_assignments, split_words

DEFAULT_SHELL = ("/bin/sh", "-c")

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)")
_UNIT_NS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "ms": 1000_000,
    "s": 1000_000_000,
    "m": 60_000_000_000,
    "h": 3600_000_000_000,
}
_PORT = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)


def apply_changes(config: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    """The configuration with each instruction applied in turn. Raises Malformed for one that is not allowed here or
    makes no sense; `changes` may hold several lines each."""
    instructions = [_split_instruction(line) for line in _logical_lines(changes)]
    for name, _ in instructions:
        if name not in _INSTRUCTIONS:
            raise Malformed("", f"{name} is not a valid change command", f"Known: {', '.join(sorted(_INSTRUCTIONS))}")
    command_given = False
    for name, text in instructions:
        if not text:
            raise Malformed("", f"{name.upper()} requires at least one argument")
        config = _INSTRUCTIONS[name](config, text)
        command_given = command_given or name == "cmd"
        if name == "entrypoint" and not command_given:
            config = replace(config, command=None)  # the old one's arguments make no sense to the new program
    return config


def _logical_lines(changes: Sequence[str]) -> list[str]:
    lines: list[str] = []
    held = ""
    for line in "\n".join(changes).splitlines():
        if line.lstrip().startswith("#"):
            continue
        if line.rstrip().endswith("\\"):
            held += line.rstrip()[:-1]
            continue
        lines.append((held + line).strip())
        held = ""
    lines.append(held.strip())
    return [line for line in lines if line]


def _split_instruction(line: str) -> tuple[str, str]:
    name, *rest = line.split(None, 1)
    return name.lower(), rest[0].strip() if rest else ""


def _environment(config: ImageConfig) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in config.env)}


def _exec_form(text: str) -> tuple[str, ...] | None:
    """The JSON list of the exec form; None when the text is of the shell form."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _command_line(config: ImageConfig, text: str) -> tuple[str, ...]:
    words = _exec_form(text)
    return (config.shell or DEFAULT_SHELL) + (text,) if words is None else words


def _cmd(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, command=_command_line(config, text))


def _entrypoint(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, entrypoint=_command_line(config, text) or None)


def _env(config: ImageConfig, text: str) -> ImageConfig:
    entries = {entry.partition("=")[0]: entry for entry in config.env}
    for name, value in split_assignments(text, _environment(config), "ENV"):
        entries[name] = f"{name}={value}"
    return replace(config, env=tuple(entries.values()))


def _label(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, labels={**config.labels, **dict(split_assignments(text, _environment(config), "LABEL"))})


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    ports = set(config.exposed_ports)
    for word in split_words(text, _environment(config)):
        found = _PORT.fullmatch(word)
        first = int(found[1]) if found else 0
        last = int(found[2] or found[1]) if found else 0
        if not found or not 1 <= first <= last <= 65535:
            raise Malformed("", f"invalid containerPort: {word}", "Give a port or a range of ports, 1 to 65535")
        protocol = (found[3] or "tcp").lower()
        ports.update(f"{port}/{protocol}" for port in range(first, last + 1))
    return replace(config, exposed_ports=tuple(sorted(ports)))


def _user(config: ImageConfig, text: str) -> ImageConfig:
    words = split_words(text, _environment(config))
    if len(words) != 1:
        raise Malformed("", "USER requires exactly one argument")
    return replace(config, user=words[0])


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    path = expand(text, _environment(config))
    if not path:
        raise Malformed("", "WORKDIR requires exactly one argument")
    return replace(config, workdir="/" + normpath(join("/", config.workdir, path)).lstrip("/"))


def _volume(config: ImageConfig, text: str) -> ImageConfig:
    words = _exec_form(text)
    paths = split_words(text, _environment(config)) if words is None else words
    if not all(path.strip() for path in paths):
        raise Malformed("", "VOLUME specified can not be an empty string")
    return replace(config, volumes=tuple(sorted({*config.volumes, *paths})))


def _stop_signal(config: ImageConfig, text: str) -> ImageConfig:
    words = split_words(text, _environment(config))
    if len(words) != 1 or not re.fullmatch(r"[0-9]{1,2}|[A-Za-z]+[A-Za-z0-9+-]*", words[0]):
        raise Malformed("", f"Invalid signal: {text}", "Give a signal's name or number")
    return replace(config, stop_signal=words[0])


def _on_build(config: ImageConfig, text: str) -> ImageConfig:
    trigger = text.split()[0].upper()
    if trigger == "ONBUILD":
        raise Malformed("", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise Malformed("", f"{trigger} isn't allowed as an ONBUILD trigger")
    return replace(config, on_build=(*config.on_build, text))


def _healthcheck(config: ImageConfig, text: str) -> ImageConfig:
    fields: dict[str, object] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        text = text.lstrip()
        name, _, value = flag[2:].partition("=")
        if name not in _HEALTH_FLAGS:
            raise Malformed("", f"unknown flag: {name}", f"Known: {', '.join(_HEALTH_FLAGS)}")
        fields[_HEALTH_FLAGS[name]] = _parse_retries(value) if name == "retries" else _parse_duration(name, value)
    kind, _, rest = text.partition(" ")
    rest = rest.strip()
    match kind.upper():
        case "NONE" if not rest:
            test = ["NONE"]
        case "CMD" if rest:
            words = _exec_form(rest)
            test = ["CMD-SHELL", rest] if words is None else ["CMD", *words]
        case "NONE":
            raise Malformed("", "HEALTHCHECK NONE takes no arguments")
        case "CMD":
            raise Malformed("", "Missing command after HEALTHCHECK CMD")
        case _:
            raise Malformed("", f'unknown type "{kind}" in HEALTHCHECK (try CMD)')
    return replace(config, healthcheck=json.dumps({"Test": test, **fields}, separators=(",", ":"), ensure_ascii=False))


_HEALTH_FLAGS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
    "retries": "Retries",
}


def _parse_retries(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Malformed("", f'--retries must be a whole number, not "{text}"')
    return int(text)


def _parse_duration(flag: str, text: str) -> int:
    """Go's notation ("1m30s"), in nanoseconds."""
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise Malformed("", f'--{flag}: invalid duration "{text}"', "Write it like 30s or 1m30s")
    total = sum(float(number) * _UNIT_NS[unit] for number, unit in _DURATION_PART.findall(text))
    if 0 < total < 1_000_000:
        raise Malformed("", f'Interval "{flag}" cannot be less than 1ms')
    return int(total)


_INSTRUCTIONS: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "cmd": _cmd,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "healthcheck": _healthcheck,
    "label": _label,
    "onbuild": _on_build,
    "stopsignal": _stop_signal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
