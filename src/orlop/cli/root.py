"""`orlop` itself and its groups: click, told by the registry what there is, and importing a command only
when it is used."""

import importlib

import click

from orlop import __version__
from orlop.cli.app import App
from orlop.cli.registry import GROUPS, TOP, Entry


class LazyGroup(click.Group):
    """A group whose commands are named by the registry."""

    def __init__(self, entries: dict[str, Entry], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = self.entries.get(name)
        if entry is None:
            return None
        if not entry.module:
            return group(name)
        command = importlib.import_module(f"orlop.cli.commands.{entry.module}").command
        command.name = name
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.entries.items():
            headings.setdefault(entry.heading if self is root else "Commands", []).append((name, entry.summary))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def group(name: str) -> LazyGroup:
    return LazyGroup(GROUPS[name], name=name, help=TOP[name].summary + ".", no_args_is_help=True)


@click.pass_context
def _root(context: click.Context, host: str) -> None:
    context.obj = App(host)


root = LazyGroup(
    TOP,
    name="orlop",
    callback=_root,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    help="A container engine that keeps people's data.",
    epilog="Every command has examples: orlop COMMAND --help. "
    'Shell completion: eval "$(_ORLOP_COMPLETE=bash_source orlop)" (or zsh_source, fish_source).',
    params=[
        click.Option(
            ["-H", "--host"],
            default="",
            metavar="ADDRESS",
            help="Where the daemon listens: unix:///path or tcp://host:port "
            "[default: $ORLOP_HOST, $DOCKER_HOST, then unix:///var/run/docker.sock].",
        ),
        click.Option(
            ["-v", "--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda context, _option, wanted: _print_version(context) if wanted else None,
            help="Print the version and exit.",
        ),
    ],
)


def _print_version(context: click.Context) -> None:
    click.echo(f"orlop {__version__}")
    context.exit()
