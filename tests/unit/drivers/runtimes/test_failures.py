"""The docker CLI picks its exit code by the words; crun and runc must end in the same ones."""

import pytest

from orlop.drivers.runtimes.failures import failure, last_words
from orlop.errors import Forbidden, HostFailure, Malformed, NotFound, OrlopError


def runc(message: str) -> str:
    escaped = message.replace('"', '\\"')
    return f'time="2026-11-23T05:54:40Z" level=error msg="{escaped}"'


IN_RUNC = "runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    ("program", "said", "error", "words"),
    [
        (
            "nosuch",
            "executable file `nosuch` not found in $PATH: No such file or directory",
            NotFound,
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            "nosuch",
            runc(IN_RUNC + 'exec: "nosuch": executable file not found in $PATH'),
            NotFound,
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            "/no/such",
            "executable file `/no/such` not found in $PATH: No such file or directory",
            NotFound,
            'exec: "/no/such": stat /no/such: no such file or directory',
        ),
        (
            "/no/such",
            runc(
                'exec failed: unable to start container process: exec: "/no/such": '
                "stat /no/such: no such file or directory"
            ),
            NotFound,
            'exec: "/no/such": stat /no/such: no such file or directory',
        ),
        ("/etc", "open executable: Operation not permitted", Forbidden, 'exec: "/etc": permission denied'),
        ("/a", "open executable: Permission denied", Forbidden, 'exec: "/a": permission denied'),
        ("/a", runc(IN_RUNC + 'exec: "/a": permission denied'), Forbidden, 'exec: "/a": permission denied'),
        ("/a/b", "open executable: Not a directory", HostFailure, 'exec: "/a/b": stat /a/b: not a directory'),
        (
            "sh",
            "chdir `/nosuch`: No such file or directory",
            NotFound,
            'chdir to cwd ("/nosuch") set in config.json failed: no such file or directory',
        ),
        (
            "sh",
            "mount `/etc/passwd` to `etc`: Not a directory",
            Malformed,
            "mount `/etc/passwd` to `etc`: not a directory. Are you trying to mount a directory onto a file",
        ),
        (
            "sh",
            runc(IN_RUNC + 'error during container init: error mounting "/a" to rootfs at "/b": not a directory'),
            Malformed,
            "Are you trying to mount a directory onto a file",
        ),
        ("sh", "error stat'ing file `/x`: No such file or directory", HostFailure, "no such file or directory"),
        ("sh", runc("runc create failed: wrong rlimit value: RLIMIT_X"), HostFailure, "wrong rlimit value: RLIMIT_X"),
        ("sh", "", HostFailure, "the runtime gave no reason"),
    ],
)
def test_both_runtimes_end_in_the_words_that_the_cli_knows(
    program: str, said: str, error: type[OrlopError], words: str
) -> None:
    found = failure("create", program, said)
    assert type(found) is error
    assert words in found.message


def test_a_program_whose_name_looks_like_an_error_is_not_taken_for_one() -> None:
    said = "writing file `permission denied`: Numerical result out of range"
    assert type(failure("create", "permission denied", said)) is HostFailure


def test_of_several_lines_the_last_error_counts() -> None:
    said = 'time="x" level=warning msg="unable to get oom kill count"\n' + runc("runc create failed: the reason")
    assert last_words(said) == "the reason"
