"""Entry point of the `orlop` command: run it, turn every failure into one line on stderr and an exit status.

A short command lives for some 30 milliseconds, most of them imports: so the garbage collector rests (nothing lives long
enough to be collected; `orlop daemon` turns it on again), and the process ends by os._exit once the output is
flushed, because taking the interpreter apart costs as much as an API call.
"""

import gc

gc.disable()

import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import NoReturn  # noqa: E402

USAGE_STATUS = 125  # what Docker's command ends with after a flag it does not know
INTERRUPTED_STATUS = 130


def main() -> NoReturn:
    status = run(sys.argv[1:])
    status = _flush(status)
    os._exit(status)


def run(arguments: Sequence[str]) -> int:
    """The exit status of `orlop ARGUMENTS...`."""
    import click

    from orlop.cli.root import root
    from orlop.client.errors import ClientError

    try:
        if "_ORLOP_COMPLETE" in os.environ:
            root.main(list(arguments), prog_name="orlop")  # the shell asks for completions: click answers, and exits
        # Not main() otherwise: it has opinions of its own on broken pipes.
        with root.make_context("orlop", list(arguments)) as context:
            result = root.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as request:  # --help and --version
        return request.exit_code
    except ClientError as error:
        return _fail(error.message, error.exit_code)
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
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n")
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        return _close_pipe()
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)


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
    return 141


if __name__ == "__main__":
    main()
