"""Words of a Dockerfile instruction: quoting, escaping and the expansion of variables, as the builder does them."""

from collections.abc import Mapping

from orlop.errors import Malformed


def split_words(text: str, environment: Mapping[str, str]) -> list[str]:
    """Words separated by blanks outside quotes, each expanded; quotes are taken off. Raises Malformed for a quote
    or a brace that is not closed."""
    words: list[str] = []
    scanner = _Scanner(text, environment)
    while True:
        scanner.skip_blanks()
        if scanner.at_end:
            return words
        words.append(scanner.word(stop_at_blank=True))


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The whole text as one word."""
    return _Scanner(text, environment).word(stop_at_blank=False)


def split_assignments(text: str, environment: Mapping[str, str], instruction: str) -> list[tuple[str, str]]:
    """`a=1 b="two words"`, or the old form `a the rest of the line`."""
    first, _, rest = text.partition(" ")
    if "=" not in first:
        if not rest.strip():
            raise Malformed("", f"{instruction} must have two arguments")
        return [(first, expand(rest.strip(), environment))]
    pairs: list[tuple[str, str]] = []
    for word in split_words(text, environment):
        name, separator, value = word.partition("=")
        if not separator:
            raise Malformed("", f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        if not name:
            raise Malformed("", f"{instruction} names can not be blank")
        pairs.append((name, value))
    return pairs


class _Scanner:
    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self._text = text
        self._at = 0
        self._environment = environment

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def skip_blanks(self) -> None:
        while not self.at_end and self._text[self._at].isspace():
            self._at += 1

    def word(self, stop_at_blank: bool) -> str:
        out: list[str] = []
        while not self.at_end:
            char = self._text[self._at]
            if stop_at_blank and char.isspace():
                break
            if char == "'":
                out.append(self._single_quoted())
            elif char == '"':
                out.append(self._double_quoted())
            elif char == "$":
                out.append(self._variable())
            else:
                out.append(self._plain(char))
        return "".join(out)

    def _take(self) -> str:
        char = self._text[self._at]
        self._at += 1
        return char

    def _plain(self, char: str) -> str:
        self._at += 1
        if char == "\\" and not self.at_end:
            return self._take()
        return char

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._unfinished("'")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return inside

    def _double_quoted(self) -> str:
        self._at += 1
        out: list[str] = []
        while not self.at_end:
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return "".join(out)
            if char == "$":
                out.append(self._variable())
                continue
            self._at += 1
            if char == "\\" and not self.at_end and self._text[self._at] in '"$\\':
                char = self._take()
            out.append(char)
        raise self._unfinished('"')

    def _variable(self) -> str:
        self._at += 1
        if not self.at_end and self._text[self._at] == "{":
            self._at += 1
            return self._braced()
        name = self._name()
        return self._environment.get(name, "") if name else "$"

    def _braced(self) -> str:
        name = self._name()
        end = self._text.find("}", self._at)
        if end < 0 or not name:
            raise self._unfinished("{")
        modifier = self._text[self._at : end]
        self._at = end + 1
        value = self._environment.get(name, "")
        if not modifier:
            return value
        if modifier.startswith(":-"):
            return value or expand(modifier[2:], self._environment)
        if modifier.startswith(":+"):
            return expand(modifier[2:], self._environment) if value else ""
        raise Malformed("", f"unsupported modifier ({modifier}) in substitution", "Use ${name:-word} or ${name:+word}")

    def _name(self) -> str:
        start = self._at
        while not self.at_end and (self._text[self._at] == "_" or self._text[self._at].isalnum()):
            self._at += 1
        return self._text[start : self._at]

    def _unfinished(self, mark: str) -> Malformed:
        return Malformed("", f"unexpected end of statement while looking for the end of {mark} in: {self._text}")
