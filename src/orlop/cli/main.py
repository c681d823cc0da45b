"""Entry point of the `orlop` command: run it, turn every failure into one line on stderr and an exit status.

A short command lives for some 25 milliseconds, most of them imports: so the garbage collector rests (nothing lives long
enough to be collected; `orlop daemon` turns it on again), and the process ends by os._exit once the output is
flushed, because taking the interpreter apart costs as much as an API call.
"""

import gc

gc.disable()

import io  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import NoReturn  # noqa: E402

from orlop import __version__  # noqa: E402
from orlop.cli.app import App  # noqa: E402
from orlop.cli.declaring import Declared  # noqa: E402
from orlop.cli.parsing import Fields, parse  # noqa: E402
from orlop.cli.registry import GROUPS, TOP  # noqa: E402
from orlop.client.errors import ClientError  # noqa: E402

USAGE_STATUS = 125  # what Docker's command ends with after a flag it does not know
INTERRUPTED_STATUS = 130
PIPE_STATUS = 141


def main() -> NoReturn:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no "…", a file name that is no UTF-8
    status = run(sys.argv[1:])
    status = _flush(status)
    os._exit(status)


def run(arguments: Sequence[str]) -> int:
    """The exit status of `orlop ARGUMENTS...`."""
    if list(arguments) in (["--version"], ["-v"]):
        sys.stdout.write(f"orlop {__version__}\n")
        return 0
    try:
        understood = None if "_ORLOP_COMPLETE" in os.environ else _read(arguments)
        if understood is None:
            return _run_by_click(arguments)
        app, declared, fields = understood
        return declared.function(app, **fields) or 0
    except ClientError as error:
        return _fail(error.message, error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        return _close_pipe()
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except Exception as error:  # a defect: told in one line, as everything is
        if "ORLOP_DEBUG" in os.environ:
            raise
        return _fail(f"a defect of this command, {type(error).__name__}: {error}. ORLOP_DEBUG=1 shows where", 1)


def _read(arguments: Sequence[str]) -> tuple[App, Declared, Fields] | None:
    """The command and its fields; None for whatever click should look at."""
    words = list(arguments)
    host = ""
    while words and words[0].startswith("-"):
        name, has_value, value = words.pop(0).partition("=")
        if name not in ("-H", "--host") or not (has_value or words):
            return None
        host = value if has_value else words.pop(0)
    entries = TOP
    while words:
        entry = entries.get(words[0])
        if entry is None:
            return None
        if entry.module:
            declared = _load(entry.module)
            fields = parse(declared, words[1:])
            return None if fields is None else (App(host), declared, fields)
        entries = GROUPS[words.pop(0)]
    return None


def _load(module: str) -> Declared:
    declared: Declared = __import__(f"orlop.cli.commands.{module}", fromlist=["command"]).command
    return declared


def _run_by_click(arguments: Sequence[str]) -> int:
    import click

    from orlop.cli.by_click import root

    try:
        if "_ORLOP_COMPLETE" in os.environ:
            root.main(list(arguments), prog_name="orlop")  # the shell asks for completions: click answers, and exits
        # Not main() otherwise: it has opinions of its own on broken pipes.
        with root.make_context("orlop", list(arguments)) as context:
            result = root.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as request:  # --help and --version
        return request.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return 1
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "orlop"
        is_flag = isinstance(error, click.NoSuchOption | click.BadOptionUsage) or (
            isinstance(error, click.BadParameter) and isinstance(error.param, click.Option)
        )
        message = error.format_message().rstrip(".")
        return _fail(f"{message}. See `{path} --help`", USAGE_STATUS if is_flag else 1)


def _fail(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"orlop: {message}\n")
    return status


def _flush(status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _close_pipe()
    except OSError as error:
        return _fail(f"cannot write the output: {error.strerror}", 1)
    return status


def _close_pipe() -> int:
    """Whoever read the output has had enough (`orlop logs web | head`): end quietly, as a program killed by SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return PIPE_STATUS


if __name__ == "__main__":
    main()
