"""Every command is described, found, and imported only when it is used."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from orlop.cli.by_click import Command
from orlop.cli.reference import commands, render_reference
from orlop.cli.registry import GROUPS, TOP
from support.daemon import CHECKOUT
from support.fake_daemon import FakeDaemon, Run

COMMANDS = {path: command for path, command, _ in commands()}


def test_the_reference_says_what_the_commands_say() -> None:
    written = CHECKOUT.joinpath("docs/command.md").read_text()
    assert written == render_reference(), "write it anew: python -m orlop.cli.reference > docs/command.md"


def test_every_module_of_a_command_is_in_the_registry() -> None:
    folder = CHECKOUT / "src/orlop/cli/commands"
    registered = {entry.module for entries in (TOP, *GROUPS.values()) for entry in entries.values()} - {""}
    assert registered == {path.stem for path in folder.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_with_an_example_and_statuses(orlop: Run, path: str) -> None:
    command = COMMANDS[path]
    assert isinstance(command, Command)
    assert command.declared.examples
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{parameter.opts} has no help"
    outcome = orlop(*path.split(), "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: orlop {path} ")
    assert "Examples:" in outcome.out
    assert "Exit status:" in outcome.out


@pytest.mark.parametrize("group", [[], *([name] for name in GROUPS)])
def test_help_of_a_group_names_every_command_with_its_one_line(orlop: Run, group: list[str]) -> None:
    outcome = orlop(*group, "--help")
    assert outcome.status == 0
    for name, entry in (GROUPS[group[0]] if group else TOP).items():
        assert name in outcome.out
        assert entry.summary.split()[0] in outcome.out
    assert orlop(*group).status == 1, "without a command it is the help, and no success"


def test_a_short_command_imports_little(tmp_path: Path) -> None:
    script = (
        "import sys; from orlop.cli.main import run; status = run(sys.argv[1:]); "
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(status)"
    )
    with FakeDaemon(tmp_path, {"GET /volumes": {"Volumes": [], "Warnings": None}}) as fake:
        program = f"import sys; sys.path[:0] = {sys.path!r}; {script}"
        command = [sys.executable, "-I", "-c", program, "--host", fake.host, "volume", "ls"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "orlop.cli.commands.volume_ls" in loaded
    assert {name for name in loaded if name.startswith("orlop.cli.commands.")} == {"orlop.cli.commands.volume_ls"}
    costly = {
        *("asyncio", "click", "http.client", "inspect", "subprocess", "ssl", "dataclasses", "pathlib", "urllib.parse"),
        *("orlop.cli.container_options", "orlop.engine", "orlop.daemon", "msgspec", "logging"),
    }
    assert not costly & loaded


def test_shell_completion_knows_the_commands() -> None:
    assert completed("orlop volume re") == ["plain,rename", "plain,restore"]
    assert "plain,--latest" in completed("orlop ps --la")


def test_shell_completion_asks_the_daemon_for_names(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path, {"GET /containers/json": [{"Names": ["/web"]}, {"Names": ["/db", "/web2"]}]}) as fake:
        assert completed(f"orlop --host {fake.host} rm w") == ["plain,web", "plain,web2"]
    assert completed("orlop --host unix:///no/such/socket rm w") == []


def completed(line: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; from orlop.cli.main import main; main()"],
        env={"_ORLOP_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()
