"""The same commands as click's: for help, for the shell's completion, and to say what is wrong with a line.

Imported only for these (see `declaring`). Should click understand a line that `parsing` did not, it is run all the
same.
"""

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from orlop import __version__
from orlop.cli.app import App
from orlop.cli.completion import complete
from orlop.cli.declaring import Argument, Declared, Option
from orlop.cli.parsing import FALSE_WORDS, TRUE_WORDS
from orlop.cli.registry import GROUPS, TOP, Entry


class Command(click.Command):
    """A click command made of what was declared."""

    def __init__(self, name: str, declared: Declared) -> None:
        super().__init__(
            name,
            callback=_callback(declared),
            params=[*map(_option, declared.options), *map(_argument, declared.arguments)],
            help=declared.function.__doc__,
            context_settings={"allow_interspersed_args": declared.interspersed},
        )
        self.declared = declared

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_as_click_spells(self, ctx, args)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line, meaning in self.declared.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
                if meaning:
                    formatter.indent()
                    formatter.write_text(meaning)
                    formatter.dedent()
        with formatter.section("Exit status"):
            formatter.write_dl(self.declared.statuses)


class LazyGroup(click.Group):
    """A group whose commands are named by the registry, and imported one at a time."""

    def __init__(self, entries: dict[str, Entry], **settings: Any) -> None:
        super().__init__(**settings, no_args_is_help=True)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = self.entries.get(name)
        if entry is None:
            return None
        if not entry.module:
            return LazyGroup(GROUPS[name], name=name, help=f"{entry.summary}.")
        return Command(name, importlib.import_module(f"orlop.cli.commands.{entry.module}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.entries.items():
            headings.setdefault(entry.heading if self is root else "Commands", []).append((name, entry.summary))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def _callback(declared: Declared) -> Any:
    @click.pass_obj
    def call(app: App, /, **fields: Any) -> int | None:
        return declared.function(app, **fields)

    return call


def _option(option: Option) -> click.Option:
    settings: dict[str, Any] = {}
    if option.is_flag:
        settings["is_flag"] = True
    elif option.choices:
        settings["type"] = click.Choice(list(option.choices))
    elif option.kind is int:
        settings["type"] = int
    if not option.multiple:
        settings["default"] = option.default
    if option.check is not None:
        settings["callback"] = _check(option.check, option)
    return click.Option(
        [*option.given_names, option.field] if option.field not in option.given_names else list(option.given_names),
        multiple=option.multiple,
        metavar=option.metavar,
        help=option.help,
        hidden=option.hidden,
        **settings,
    )


def _check(check: Callable[[str], Any], option: Option) -> Callable[[Any, Any, Any], Any]:
    def call(_context: Any, _option: Any, value: Any) -> Any:
        if option.multiple:
            return tuple(check(each) for each in value)
        return value if value == option.default else check(value)

    return call


def _argument(argument: Argument) -> click.Argument:
    return click.Argument(
        [argument.field],
        nargs=-1 if argument.many else 1,
        required=argument.required,
        metavar=argument.metavar,
        type=click.UNPROCESSED,
        shell_complete=complete,
        **({} if argument.many or argument.default is None else {"default": argument.default}),
    )


def _as_click_spells(command: Command, ctx: click.Context, args: Sequence[str]) -> Iterator[str]:
    """Docker's grammar of flags in click's: `--rm=false` becomes nothing, `-e=A=1` becomes `-eA=1`."""
    options = {name: option for option in command.declared.options for name in (*option.on_names, *option.off_names)}
    words = iter(args)
    for word in words:
        if word in ("--", "-") or not word.startswith("-"):
            yield word
            if word == "--" or not ctx.allow_interspersed_args:
                yield from words
            continue
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            option = options.get(name)
            if option is not None and option.is_flag and has_value:
                yield from _switch(option, name, value)
                continue
            yield word
            takes_next = option is not None and not option.is_flag and not has_value
        else:
            spelled, takes_next = _short_cluster(word, options)
            yield from spelled
        if takes_next:
            yield from itertools.islice(words, 1)


def _switch(option: Option, name: str, value: str) -> Iterator[str]:
    """What turns it off again has no spelling in click, where the switch has none of its own; then it is left out."""
    if value in TRUE_WORDS:
        yield name
    elif value in FALSE_WORDS:
        yield from option.on_names[-1:] if name in option.off_names else option.off_names
    else:
        raise click.BadOptionUsage(name, f"invalid value {value!r} for {name}: use true or false")


def _short_cluster(word: str, options: dict[str, Option]) -> tuple[list[str], bool]:
    """`-itv=/x` as click reads it, `-e=` with an empty word for its value, and whether the next word is
    the value of its last letter."""
    for index, letter in enumerate(word[1:], 1):
        option = options.get(f"-{letter}")
        if option is None:
            return [word], False
        if not option.is_flag:
            rest = word[index + 1 :]
            spelled = word[: index + 1]
            return [spelled, ""] if rest == "=" else [spelled + rest.removeprefix("=")], not rest
    return [word], False


@click.pass_context
def _root(context: click.Context, host: str) -> None:
    context.obj = App(host)


def _print_version(context: click.Context) -> None:
    click.echo(f"orlop {__version__}")
    context.exit()


root = LazyGroup(
    TOP,
    name="orlop",
    callback=_root,
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
