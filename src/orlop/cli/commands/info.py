"""`orlop info`."""

from collections.abc import Iterator
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import declare
from orlop.cli.human import render_size
from orlop.cli.output import format_option, print_json, print_lines, warn


@declare(examples=[("orlop info", ""), ("orlop info --format json", "all of it, one JSON document")])
@format_option
def command(app: App, output_format: str) -> None:
    """Show facts about the daemon and its host."""
    facts = app.api.get("/info")
    if output_format == "json":
        print_json(facts)
        return
    print_lines(_render(facts))
    for warning in facts.get("Warnings") or []:
        warn(warning)


def _render(facts: dict[str, Any]) -> Iterator[str]:
    yield f"Containers: {facts['Containers']}"
    yield f" Running: {facts['ContainersRunning']}"
    yield f" Paused: {facts['ContainersPaused']}"
    yield f" Stopped: {facts['ContainersStopped']}"
    yield f"Images: {facts['Images']}"
    yield f"Server Version: {facts['ServerVersion']}"
    yield f"Storage Driver: {facts['Driver']}"
    for name, value in facts.get("DriverStatus") or []:
        yield f" {name}: {value}"
    yield f"Logging Driver: {facts['LoggingDriver']}"
    yield f"Cgroup Driver: {facts['CgroupDriver']}"
    yield f"Cgroup Version: {facts.get('CgroupVersion', '1')}"
    plugins = facts.get("Plugins") or {}
    yield f"Volume Drivers: {' '.join(plugins.get('Volume') or [])}"
    yield f"Network Drivers: {' '.join(plugins.get('Network') or [])}"
    yield f"Runtimes: {' '.join(sorted(facts.get('Runtimes') or {}))}"
    yield f"Default Runtime: {facts['DefaultRuntime']}"
    yield f"Security Options: {' '.join(facts.get('SecurityOptions') or [])}"
    for label, key in (
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ):
        yield f"{label}: {facts.get(key, '')}"
    yield f"Total Memory: {render_size(facts['MemTotal'], 4)}"
    yield f"Name: {facts['Name']}"
    yield f"ID: {facts['ID']}"
    yield f"Data Root: {facts['DockerRootDir']}"
