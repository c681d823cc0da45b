"""What the options of drivers for storage elsewhere have in common: required ones, unknown ones, switches, sizes."""

from collections.abc import Collection, Mapping

from orlop.drivers.volumes.storage_mark import ALWAYS, IF_EMPTY, NEVER
from orlop.errors import Malformed
from orlop.model.secret import names_of_secrets
from orlop.model.sizes import parse_size

Options = Mapping[str, str]

CACHE_MODES = ("off", "minimal", "writes", "full")
COMMON = ("read-only", "mark", "cache-mode", "cache-size", "uid", "gid", "umask", "upload-wait")


def check_known(
    subject: str, options: Options, known: Collection[str], prefix: str = "", of_lines: Collection[str] = ()
) -> None:
    """Raises Malformed for an option that nobody reads: a typing error must not be taken for a wish granted. Values
    become lines of a configuration, so only those `of_lines` may have more than one, and are written with care."""
    for key, value in options.items():
        if key not in known and not (prefix and key.startswith(prefix)):
            raise Malformed(subject, f'invalid option: "{key}"', f"Known options: {', '.join(sorted(known))}")
        if "\x00" in value or ("\n" in value and key not in of_lines):
            raise Malformed(subject, f'option "{key}" has a line break or a NUL byte in it')


def refuse_named(subject: str, options: Options, shown: Collection[str]) -> None:
    """Of options as they were given. Raises Malformed where one names a secret that could not be kept: the program
    that mounts takes it as an argument."""
    if named := [key for key, value in options.items() if key in shown and names_of_secrets({key: value})]:
        why = f'option "{named[0]}" cannot be a secret: among its program\'s arguments everybody here can see it'
        raise Malformed(subject, why, "Write it plainly")


def require(subject: str, options: Options, *names: str) -> None:
    for name in names:
        if not options.get(name):
            raise Malformed(subject, f'missing required option: "{name}"', f"Give it: -o {name}=...")


def choose(subject: str, options: Options, name: str, choices: Collection[str], default: str) -> str:
    value = options.get(name) or default
    if value not in choices:
        raise Malformed(subject, f"{name} is {value!r}, and can be {', '.join(choices)}")
    return value


def switch(subject: str, options: Options, name: str) -> bool:
    return choose(subject, options, name, ("true", "false", "1", "0", "yes", "no"), "false") in ("true", "1", "yes")


def check_size(subject: str, options: Options, name: str) -> None:
    if size := options.get(name):
        try:
            parse_size(size)
        except ValueError as error:
            raise Malformed(subject, f"{name}: {error}", "For example 10g") from error


def check_common(subject: str, options: Options) -> None:
    choose(subject, options, "cache-mode", CACHE_MODES, "writes")
    choose(subject, options, "mark", (IF_EMPTY, ALWAYS, NEVER), IF_EMPTY)
    switch(subject, options, "read-only")
    check_size(subject, options, "cache-size")
    for name in ("uid", "gid"):
        if (value := options.get(name)) and not value.isdecimal():
            raise Malformed(subject, f"{name} is {value!r}, and has to be a number")
    umask = options.get("umask", "")
    if umask and not all(digit in "01234567" for digit in umask):
        raise Malformed(subject, f"umask is {umask!r}, and has to be octal, for example 022")
    wait = options.get("upload-wait", "")
    if wait and not wait.isdecimal():
        raise Malformed(subject, f"upload-wait is {wait!r}, and has to be a number of seconds")
