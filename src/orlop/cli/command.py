"""The click command that all of Orlop's are: Docker's grammar of flags, help with examples and exit status.

Docker's flags are Go's pflag: a switch may be given a value (`--rm=false`), and a short option may have an equals sign
(`-e=A=1`). click knows neither, so the arguments are brought into click's form first.
"""

import itertools
from collections.abc import Iterator, Sequence

import click

TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Command(click.Command):
    """`examples` are (command line, what it does); `statuses` (exit status, meaning) where it is not just 0 and 1."""

    examples: Sequence[tuple[str, str]] = ()
    statuses: Sequence[tuple[str, str]] = ()

    def __init__(
        self,
        *arguments: object,
        examples: Sequence[tuple[str, str]] = (),
        statuses: Sequence[tuple[str, str]] = (),
        **settings: object,
    ) -> None:
        super().__init__(*arguments, **settings)  # type: ignore[arg-type]
        self.examples = examples
        self.statuses = statuses

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_as_click_spells(self, ctx, args)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line, meaning in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
                    if meaning:
                        formatter.indent()
                        formatter.write_text(meaning)
                        formatter.dedent()
        with formatter.section("Exit status"):
            formatter.write_dl(self.statuses or DEFAULT_STATUSES)


DEFAULT_STATUSES = (
    ("0", "done"),
    ("1", "something failed: the reason is on stderr"),
    ("125", "an option is not understood"),
)


def _as_click_spells(command: click.Command, ctx: click.Context, args: Sequence[str]) -> Iterator[str]:
    options = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    offs = {name for option in command.params if isinstance(option, click.Option) for name in option.secondary_opts}
    words = iter(args)
    for word in words:
        if word == "--" or not word.startswith("-") or word == "-":
            yield word
            if word == "--" or not ctx.allow_interspersed_args:
                yield from words
            continue
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            option = options.get(name)
            if option is not None and option.is_flag and has_value:
                yield from _switch(name, value, offs)
                continue
            yield word
            takes_next = option is not None and not option.is_flag and not has_value and not option.count
        else:
            spelled, takes_next = _short_cluster(word, options)
            yield spelled
        if takes_next:
            yield from itertools.islice(words, 1)


def _switch(name: str, value: str, offs: set[str]) -> Iterator[str]:
    off = f"--no-{name[2:]}"
    if value in TRUE_WORDS:
        yield name
    elif value in FALSE_WORDS:
        if off in offs:
            yield off
    else:
        raise click.BadOptionUsage(name, f"invalid value {value!r} for {name}: use true or false")


def _short_cluster(word: str, options: dict[str, click.Option]) -> tuple[str, bool]:
    """`-itv=/x` as click reads it, and whether the next word is the value of its last letter."""
    for index, letter in enumerate(word[1:], 1):
        option = options.get(f"-{letter}")
        if option is None:
            return word, False
        if not option.is_flag and not option.count:
            rest = word[index + 1 :]
            return word[: index + 1] + rest.removeprefix("="), not rest
    return word, False
