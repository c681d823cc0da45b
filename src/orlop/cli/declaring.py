"""What a command's line may hold, declared beside the function that does it.

    @declare(examples=[("orlop stop web", "")])
    @option("-t", "--time", "seconds", kind=int, metavar="SECONDS", help="...")
    @argument("containers", many=True, metavar="CONTAINER...")
    def command(app: App, containers: tuple[str, ...], seconds: int | None) -> int: ...

The declarations are click's in form, and become click commands for help, for completion and to explain mistakes
(`by_click`). A line without mistakes is read by `parsing` instead, because importing click takes longer than all of a
short command. A test holds the two to the same reading.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Pairs = Sequence[tuple[str, str]]

DEFAULT_STATUSES: Pairs = (
    ("0", "done"),
    ("1", "something failed: the reason is on stderr"),
    ("125", "an option is not understood"),
)


class Option:
    """A switch, or an option with a value: once (the last one counts) or `multiple` times."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        default: Any = None,
        is_flag: bool = False,
        multiple: bool = False,
        kind: type[int] | None = None,
        choices: Sequence[str] = (),
        check: Callable[[str], Any] | None = None,
        metavar: str | None = None,
        help: str = "",
        hidden: bool = False,
    ) -> None:
        self.given_names = tuple(names)
        spelled = [name for name in names if name.startswith("-")]
        self.on_names = [part for name in spelled for part in name.split("/")[:1]]
        self.off_names = [part for name in spelled for part in name.split("/")[1:]]
        own = [name for name in names if not name.startswith("-")]
        long = [name for name in self.on_names if name.startswith("--")]
        self.field = own[0] if own else (long or self.on_names)[0].lstrip("-").replace("-", "_")
        self.is_flag = is_flag or bool(self.off_names)
        self.multiple = multiple
        self.default = () if multiple else bool(default) if self.is_flag else default
        self.kind = kind
        self.choices = choices
        self.check = check
        self.metavar = metavar
        self.help = help
        self.hidden = hidden


class Argument:
    """A word by its place: required, with a `default`, or the `many` that are left."""

    def __init__(
        self, field: str, *, metavar: str, many: bool = False, required: bool | None = None, default: str | None = None
    ) -> None:
        self.field = field
        self.metavar = metavar
        self.many = many
        self.default = default
        self.required = required if required is not None else not many and default is None


class Declared:
    """A command: its function, called with the App and the fields, and what its line may hold."""

    def __init__(
        self,
        function: Callable[..., int | None],
        parameters: Sequence[Option | Argument],
        examples: Pairs,
        statuses: Pairs,
        interspersed: bool,
    ) -> None:
        self.function = function
        self.options = [it for it in parameters if isinstance(it, Option)]
        self.arguments = [it for it in parameters if isinstance(it, Argument)]
        self.examples = examples
        self.statuses = statuses
        self.interspersed = interspersed


def option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        _parameters(function).append(Option(names, **settings))
        return function

    return add


def argument(field: str, **settings: Any) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        _parameters(function).append(Argument(field, **settings))
        return function

    return add


def declare(
    *, examples: Pairs, statuses: Pairs = DEFAULT_STATUSES, interspersed: bool = True
) -> Callable[[Callable[..., int | None]], Declared]:
    """`interspersed` False: options end at the first argument, as for a program that has options of its own."""

    def make(function: Callable[..., int | None]) -> Declared:
        return Declared(function, _parameters(function)[::-1], examples, statuses, interspersed)

    return make


def _parameters(function: Callable[..., Any]) -> list[Option | Argument]:
    found: list[Option | Argument] = function.__dict__.setdefault("declared_parameters", [])
    return found
