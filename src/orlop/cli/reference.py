"""docs/command.md, written from the commands themselves: `python -m orlop.cli.reference > docs/command.md`.

A test holds the file to what this renders, so that no command and no option is missing from it.
"""

from collections.abc import Iterator

import click

from orlop.cli.by_click import Command, root
from orlop.cli.registry import GROUPS, TOP

INTRODUCTION = """\
# The `orlop` command

`orlop` is complete by itself: a machine without the `docker` command misses nothing. Verbs, flags, columns and exit
codes are Docker's, so that what people have in their fingers, and in scripts, works. It speaks to the daemon's API
only, and to the disk only where there is no daemon (`recover`, `plugin serve`, `secret ... --root`); it works with
Docker's own daemon too, but for what only Orlop can do.

**Where the daemon is.** `--host` (before the command), else `$ORLOP_HOST`, else `$DOCKER_HOST`, else
`unix:///var/run/docker.sock`. Unix sockets and `tcp://` without TLS are spoken.

**Output.** Tables by default. `--format json` gives the API's own objects: one a line for listings, one document for
`info`, `version` and `system df`. There are no Go templates, except a single path in `inspect`
(`-f '{{.State.Status}}'`); `jq` does the rest. Long transfers draw progress on stderr, where that is a terminal.

**Errors** are one line on stderr, `orlop: ...`, with the reason and, where there is one, the way out.

| exit status | |
|---|---|
| 0 | done |
| 1 | something failed |
| 125 | an option is not understood; for `run` and `create` also: the engine refused or failed |
| 126, 127 | `run`, `exec`, `start`: the program cannot be run, was not found |
| 130 | interrupted by ctrl-c |
| any other | `run`, `exec`, `start -a`, `attach`: the program's own |

**Nothing is lost by a slip.** `volume rm`, `volume prune`, `rm -v` and `--rm` put a volume's data aside; until its time
has run out, `orlop volume restore` brings it back. Only `volume purge` destroys data at once, and it asks.

**Shell completion.** `eval "$(_ORLOP_COMPLETE=bash_source orlop)"` in `~/.bashrc`; `zsh_source` in `~/.zshrc`;
`_ORLOP_COMPLETE=fish_source orlop | source` in `~/.config/fish/config.fish`.
"""


def render_reference() -> str:
    return "\n".join([INTRODUCTION, *_contents(), *_sections()])


def commands() -> Iterator[tuple[str, click.Command, str]]:
    """(path, command, the path of the same command that is described already, or "")."""
    described: dict[str, str] = {}
    context = click.Context(root, info_name="orlop")
    for name, entry in TOP.items():
        if entry.module:
            described[entry.module] = name
            yield name, _get(context, root, name), ""
    for group, entries in GROUPS.items():
        parent = root.get_command(context, group)
        assert isinstance(parent, click.Group)
        for name, entry in entries.items():
            same = described.get(entry.module, "")
            described.setdefault(entry.module, f"{group} {name}")
            yield f"{group} {name}", _get(context, parent, name), same


def _get(context: click.Context, parent: click.Group, name: str) -> click.Command:
    command = parent.get_command(context, name)
    assert command is not None, name
    return command


def _contents() -> Iterator[str]:
    headings: dict[str, list[str]] = {}
    for name, entry in TOP.items():
        if entry.module:
            headings.setdefault(entry.heading, []).append(f"[{name}](#orlop-{name})")
    for heading, links in headings.items():
        yield f"- {heading}: {', '.join(links)}"
    for group, entries in GROUPS.items():
        names = ", ".join(
            f"[{name}](#orlop-{TOP_NAMES.get(entry.module, f'{group}-{name}')})" for name, entry in entries.items()
        )
        yield f"- `orlop {group}`: {names}"
    yield ""


TOP_NAMES = {entry.module: name for name, entry in TOP.items() if entry.module}


def _sections() -> Iterator[str]:
    for path, command, same in commands():
        if same:
            continue
        context = click.Context(command, info_name=f"orlop {path}")
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"## orlop {path}\n\n    orlop {path} {usage}\n"
        yield f"{_prose(command.help or '')}\n"
        yield from _options(command, context)
        if isinstance(command, Command):
            yield from _examples(command)
            statuses = command.declared.statuses
            yield f"Exit status: {'; '.join(f'{code}: {meaning}' for code, meaning in statuses)}.\n"


def _prose(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [
        option.get_help_record(context)
        for option in command.get_params(context)
        if isinstance(option, click.Option) and "--help" not in option.opts
    ]
    rows = [f"- `{names}`: {text}" for names, text in filter(None, records)]
    if rows:
        yield "\n".join(rows) + "\n"


def _examples(command: Command) -> Iterator[str]:
    if command.declared.examples:
        lines = [f"    {line}" + (f"   # {meaning}" if meaning else "") for line, meaning in command.declared.examples]
        yield "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render_reference(), end="")
