"""Lines without mistakes are read without click, and as click reads them."""

from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.cli.by_click import Command, root
from orlop.cli.declaring import Declared, Option
from orlop.cli.main import _read
from orlop.cli.parsing import parse
from orlop.cli.reference import commands
from orlop.client.errors import ClientError

DECLARED: dict[str, Declared] = {
    path: command.declared for path, command, same in commands() if not same and isinstance(command, Command)
}
ODD_WORDS = ("-", "--", "-x", "--nonsense", "--rm=perhaps", "-=", "-v", "-e=", "", "a=b", "3", "json", "--help", "-h")


def read_by_click(path: str, declared: Declared, words: list[str]) -> dict[str, Any] | None:
    command = Command(path, declared)
    parent = click.Context(root)
    try:
        with command.make_context(path, list(words), parent=parent) as context:
            return dict(context.params)
    except (click.ClickException, click.exceptions.Exit, ClientError):
        return None


def read_by_us(declared: Declared, words: list[str]) -> dict[str, Any] | None:
    try:
        return parse(declared, words)
    except ClientError:
        return None


def lines_of(declared: Declared) -> st.SearchStrategy[list[str]]:
    """Lines that mostly make sense for the command, in all the ways that flags may be spelled."""
    value = st.sampled_from(["x", "7", "json", "a=b", "-x", "", "missing", "volume", "24h"])

    def spell(option: Option) -> st.SearchStrategy[list[str]]:
        name = st.sampled_from(option.on_names + option.off_names)
        if option.is_flag:
            # click cannot turn off what has no name for it; we can, and what only click reads has a mistake
            ending = st.sampled_from(["", "", "=true", "=perhaps", *(["=0"] if option.off_names else [])])
            return st.builds(lambda n, e: [n + e if n.startswith("--") else n], name, ending)
        joined: Callable[[str, str], list[str]] = lambda n, v: [f"{n}={v}"] if n.startswith("--") or v else [n, "v"]  # noqa: E731
        glued: Callable[[str, str], list[str]] = lambda n, v: [n, v] if n.startswith("--") else [n + (v or "v")]  # noqa: E731
        return st.one_of(
            st.builds(lambda n, v: [n, v], name, value), st.builds(joined, name, value), st.builds(glued, name, value)
        )

    pieces = [spell(option) for option in declared.options] or [st.just(["--help"])]
    words = st.sampled_from(["app", "busybox", "data", "x:y", "1"]).map(lambda word: [word])
    piece = st.one_of(*pieces, words, words, st.sampled_from(ODD_WORDS).map(lambda word: [word]))
    return st.lists(piece, max_size=6).map(lambda parts: [word for part in parts for word in part])


@pytest.mark.parametrize("path", DECLARED)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_both_readings_agree(path: str, data: st.DataObject) -> None:
    declared = DECLARED[path]
    words = data.draw(lines_of(declared))
    ours, clicks = read_by_us(declared, words), read_by_click(path, declared, words)
    assert ours is None or ours == clicks, "what we understand, click understands in the same way"


@pytest.mark.parametrize(
    ("path", "line", "wanted"),
    [
        ("run", "-itv=/x:/y -e A=1 -eB=2 --rm=false busybox sh -c -x --rm", {
            "interactive": True, "tty": True, "volume": ("/x:/y",), "env": ("A=1", "B=2"), "rm": False,
            "image": "busybox", "arguments": ("sh", "-c", "-x", "--rm"), "sig_proxy": True}),
        ("exec", "-e= app x", {"env": ("",), "container": "app", "arguments": ("x",)}),
        ("run", "--no-sig-proxy -- busybox -- x", {"sig_proxy": False, "image": "busybox", "arguments": ("--", "x")}),
        ("run", "--sig-proxy=false busybox", {"sig_proxy": False, "arguments": ()}),
        ("stop", "-t -1 a b", {"seconds": -1, "containers": ("a", "b")}),
        ("stop", "a --time=5 b", {"seconds": 5, "containers": ("a", "b")}),
        ("rm", "-fv a", {"force": True, "volumes": True}),
        ("images", "", {"name": "", "filters": ()}),
        ("images", "-f a=b --filter=c=d x", {"name": "x", "filters": ("a=b", "c=d")}),
        ("daemon", "--volume-grace 2h -H unix:///a -H unix:///b", {
            "volume_grace_seconds": 7200, "hosts": ("unix:///a", "unix:///b"), "debug": False}),
        ("cp", "- app:/x", {"source": "-", "target": "app:/x"}),
    ],
)  # fmt: skip
def test_lines_are_read_as_docker_reads_them(path: str, line: str, wanted: dict[str, Any]) -> None:
    fields = parse(DECLARED[path], line.split())
    assert fields is not None
    assert {key: fields[key] for key in wanted} == wanted
    assert read_by_click(path, DECLARED[path], line.split()) == fields


@pytest.mark.parametrize(
    ("path", "line"),
    [("stop", ""), ("stop", "-t"), ("stop", "-t x a"), ("images", "a b"), ("rename", "a"), ("ps", "--nonsense"),
     ("run", "--pull sometimes a"), ("run", "--rm=perhaps a"), ("ps", "-ax"), ("ps", "--help")],
)  # fmt: skip
def test_a_line_with_a_mistake_is_left_to_click(path: str, line: str) -> None:
    assert parse(DECLARED[path], line.split()) is None
    assert read_by_click(path, DECLARED[path], line.split()) is None


@pytest.mark.parametrize(
    ("line", "host", "function"),
    [
        ("ps -a", "", "orlop.cli.commands.ps"),
        ("--host unix:///x volume ls", "unix:///x", "orlop.cli.commands.volume_ls"),
        ("-H=unix:///x container ls", "unix:///x", "orlop.cli.commands.ps"),
    ],
)
def test_the_way_to_a_command(line: str, host: str, function: str) -> None:
    understood = _read(line.split())
    assert understood is not None
    app, declared, _ = understood
    assert (app.host, declared.function.__module__) == (host, function)


@pytest.mark.parametrize("line", ["", "-v", "--help", "volume", "volume nonsense", "nonsense", "-H", "--host"])
def test_what_is_no_way_to_a_command_is_left_to_click(line: str) -> None:
    assert _read(line.split()) is None
