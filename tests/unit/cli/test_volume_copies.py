"""`orlop volume cp`, `export` and `import`: what is asked of the daemon, and what people are told."""

import gzip
import io
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import zstandard

from orlop.cli.packing import choose_compression, open_packer
from support.fake_daemon import Run, raw_answer

VOLUME = {"Name": "again", "Driver": "local"}
COPY: dict[str, Any] = {
    "Volume": VOLUME,
    "Entries": 3,
    "Bytes": 9,
    "MissedCount": 0,
    "Missed": [],
    "LostAttributes": [],
    "LeftOutOptions": [],
    "Users": [],
}
IMPORT: dict[str, Any] = {
    "Volume": VOLUME,
    "Entries": 3,
    "Bytes": 9,
    "LostAttributes": [],
    "LeftOutOptions": [],
    "OmittedOptions": [],
}


def lines(*values: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    body = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return raw_answer(head + body)


def test_a_copy_asks_for_what_was_said(orlop: Run) -> None:
    answers = {"POST /orlop/v1/volumes/data/copy": lines({"Entries": 1, "Bytes": 2}, {"Result": COPY})}
    changes = ["-l", "a=b", "--label-rm", "c", "-o", "size=20g", "--opt-rm", "uid", "-d", "local"]
    outcome = orlop("volume", "cp", *changes, "data", "again", answers=answers)
    assert (outcome.status, outcome.out, outcome.err) == (0, "again\n", "")
    assert outcome.fake.last.query == {"progress": ["1"]}
    assert outcome.fake.last.json == {
        "Name": "again",
        "Driver": "local",
        "Labels": {"a": "b"},
        "DriverOpts": {"size": "20g"},
        "RemoveLabels": ["c"],
        "RemoveOptions": ["uid"],
    }


def test_what_is_otherwise_than_one_might_think_is_told(orlop: Run) -> None:
    missed = [{"Path": f"file{number}", "Why": "it vanished"} for number in range(12)]
    result = {**COPY, "Users": ["web", "db"], "LeftOutOptions": ["device"], "Missed": missed, "MissedCount": 12}
    answers = {"POST /orlop/v1/volumes/data/copy": lines({"Result": result})}
    told = orlop("volume", "cp", "data", "again", answers=answers)
    assert told.out == "again\n"
    for words in ("web, db may have written", "left out: device", "12 entries", "file9: it vanished", "and 2 more"):
        assert words in told.err
    assert "file10" not in told.err
    assert orlop("volume", "cp", "-q", "data", "again", answers=answers).err == ""
    shown = orlop("volume", "cp", "--format", "json", "data", "again", answers=answers)
    assert json.loads(shown.out) == result and shown.err == ""


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lines({"Entries": 1, "Bytes": 2}, {"error": "No space left on device"}), "No space left on device"),
        (lines({"Entries": 1, "Bytes": 2}), "broke the connection off"),
        ((409, {"message": "a volume again exists already"}), "exists already"),
    ],
)
def test_a_copy_that_fails_is_one_line_and_a_status(orlop: Run, answer: Any, text: str) -> None:
    outcome = orlop("volume", "cp", "data", "again", answers={"POST /orlop/v1/volumes/data/copy": answer})
    assert outcome.status == 1 and outcome.out == ""
    assert text in outcome.err and outcome.err.count("\n") == 1


@pytest.mark.parametrize("words", [("a:/x", "b:/y"), ("a:", "here"), ("a",)])
def test_mistakes_in_copies_are_told(orlop: Run, words: tuple[str, ...]) -> None:
    outcome = orlop("volume", "cp", *words)
    assert outcome.status == 1 and outcome.err.count("\n") == 1 and outcome.fake.asked == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["data.tar"], None),
        (["./data.tar"], None),
        (["again", "data.tar"], "again"),
        (["again", "./data.tar"], "again"),
    ],
)
def test_one_word_is_a_file_if_there_is_one(
    orlop: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.tar").write_bytes(b"archive")
    outcome = orlop("volume", "import", *words, answers={"POST /orlop/v1/volumes/import": (201, IMPORT)})
    assert (outcome.status, outcome.out, outcome.err) == (0, "again\n", "")
    assert outcome.fake.last.body == b"archive"
    assert outcome.fake.last.query == ({"name": [name]} if name else {})


def test_an_import_asks_for_what_was_said(orlop: Run, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"archive")
    result = {**IMPORT, "OmittedOptions": ["o"], "LeftOutOptions": ["type"], "LostAttributes": ["user.x"]}
    answers = {"POST /orlop/v1/volumes/import": (201, result)}
    words = ["-l", "a=b", "-l", "c=d", "-o", "size=1g", "-d", "local", "again", str(tmp_path / "a.tar")]
    outcome = orlop("volume", "import", *words, answers=answers)
    query = {"name": ["again"], "driver": ["local"], "label": ["a=b", "c=d"], "opt": ["size=1g"]}
    assert outcome.fake.last.query == query
    for part in ("secrets were not in the archive: o", "left out: type", "cannot keep the attributes user.x"):
        assert part in outcome.err


def test_an_export_appears_when_it_is_whole(orlop: Run, tmp_path: Path) -> None:
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntar\r\n0\r\n\r\n"
    target = tmp_path / "data.tar.gz"

    def export(answer: bytes) -> int:
        answers = {"GET /orlop/v1/volumes/data/export": raw_answer(answer)}
        return orlop("volume", "export", "-o", str(target), "data", answers=answers).status

    assert export(whole[:-10]) == 1 and list(tmp_path.iterdir()) == []
    assert export(whole) == 0
    assert gzip.decompress(target.read_bytes()) == b"tar"
    assert target.stat().st_mode & 0o777 == 0o600, "nobody else may read what may be secret"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a.tar", "none"), ("", "none"), ("a.tar.gz", "gzip"), ("a.tgz", "gzip"), ("a.zst", "zstd"), ("a.tzst", "zstd")],
)
def test_the_files_name_says_how_it_is_packed(path: str, kind: str) -> None:
    assert choose_compression("", path) == kind
    assert choose_compression("none", path) == "none"


@pytest.mark.parametrize(
    ("kind", "unpack"), [("none", bytes), ("gzip", gzip.decompress), ("zstd", lambda data: zstandard.decompress(data))]
)
def test_what_is_packed_is_whole(kind: str, unpack: Callable[[bytes], bytes]) -> None:
    data = bytes(range(256)) * 5000
    out = io.BytesIO()
    with open_packer(kind, out) as target:
        target.write(data[:1000])
        target.write(data[1000:])
    packed = out.getvalue()
    if kind == "zstd":
        assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == data
    else:
        assert unpack(packed) == data
