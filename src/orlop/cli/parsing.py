"""Reading a command line that has no mistakes, without click: words to the fields of a command.

The grammar is Docker's, that is Go's pflag: long options with the value after a space or an equals sign, short ones in
clusters (`-itv /x`, `-e=A=1`), switches that may be given a value (`--rm=false`), and `--` for the end of options.
None is the answer to everything else; click reads the same line then and says what is wrong with it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from orlop.cli.declaring import Declared, Option

TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})

Fields = dict[str, Any]


def parse(declared: Declared, words: Sequence[str]) -> Fields | None:
    reading = _Reading(declared)
    rest = iter(words)
    try:
        for word in rest:
            if word == "--":
                reading.positional.extend(rest)
            elif word.startswith("--"):
                reading.read_long(word, rest)
            elif word.startswith("-") and word != "-":
                reading.read_short(word, rest)
            else:
                reading.positional.append(word)
                if not declared.interspersed:
                    reading.positional.extend(rest)
        return reading.finish()
    except _NotUnderstood:
        return None


class _NotUnderstood(Exception):
    pass


class _Reading:
    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self._options: dict[str, tuple[Option, bool]] = {}
        self._fields: Fields = {}
        self.positional: list[str] = []
        for option in declared.options:
            self._fields[option.field] = option.default
            for name in option.on_names:
                self._options[name] = (option, True)
            for name in option.off_names:
                self._options[name] = (option, False)

    def read_long(self, word: str, rest: Iterator[str]) -> None:
        name, has_value, value = word.partition("=")
        option, is_on = self._find(name)
        if not option.is_flag:
            self._set(option, value if has_value else _next(rest))
        elif not has_value or value in TRUE_WORDS:
            self._fields[option.field] = is_on
        elif value in FALSE_WORDS:
            self._fields[option.field] = not is_on
        else:
            raise _NotUnderstood

    def read_short(self, word: str, rest: Iterator[str]) -> None:
        for index, letter in enumerate(word[1:], 2):
            option, is_on = self._find(f"-{letter}")
            if option.is_flag:
                self._fields[option.field] = is_on
                continue
            value = word[index:]
            self._set(option, value.removeprefix("=") if value else _next(rest))
            return

    def finish(self) -> Fields:
        left = self.positional
        for argument in self._declared.arguments:
            if argument.many:
                if argument.required and not left:
                    raise _NotUnderstood
                self._fields[argument.field] = tuple(left)
                left = []
            elif left:
                self._fields[argument.field] = left[0]
                left = left[1:]
            elif argument.required:
                raise _NotUnderstood
            else:
                self._fields[argument.field] = argument.default
        if left:
            raise _NotUnderstood
        return self._fields

    def _find(self, name: str) -> tuple[Option, bool]:
        found = self._options.get(name)
        if found is None:
            raise _NotUnderstood
        return found

    def _set(self, option: Option, text: str) -> None:
        value: Any = text
        if option.kind is int:
            try:
                value = int(text)
            except ValueError:
                raise _NotUnderstood from None
        if option.choices and text not in option.choices:
            raise _NotUnderstood
        if option.check is not None:
            value = option.check(text)
        if option.multiple:
            value = (*self._fields[option.field], value)
        self._fields[option.field] = value


def _next(rest: Iterator[str]) -> str:
    for word in rest:
        return word
    raise _NotUnderstood
