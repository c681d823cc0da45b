"""The client of the API, against a daemon that answers what the test says."""

import io
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.client.address import Address, from_environment
from orlop.client.api import Api, json_messages, quote, render_filters, render_query
from orlop.client.errors import ApiError, ClientError, Unreachable
from support.fake_daemon import FakeDaemon, raw_answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def connect(fake: FakeDaemon) -> Api:
    return Api(Address(fake.host))


def test_the_older_of_the_two_versions_is_spoken(tmp_path: Path) -> None:
    for offered, spoken in (("1.41", "1.41"), ("1.99", "1.52")):
        with FakeDaemon(tmp_path, {}, api_version=offered) as fake:
            assert connect(fake).version() == spoken
        fake.path.unlink()


@pytest.mark.parametrize("offered", ["1.40", "", "nonsense"])
def test_a_version_too_old_is_refused_with_the_one_needed(tmp_path: Path, offered: str) -> None:
    with FakeDaemon(tmp_path, {}, api_version=offered) as fake, pytest.raises(ClientError, match=r"needs 1\.41"):
        connect(fake).get("/volumes")


def test_an_answer_in_chunks_is_put_together(tmp_path: Path) -> None:
    body = CHUNKED + b'8\r\n{"Volume\r\n5;x=y\r\ns":[]\r\n1\r\n}\r\n0\r\n\r\n'
    with FakeDaemon(tmp_path, {"GET /volumes": raw_answer(body)}) as fake:
        assert connect(fake).get("/volumes") == {"Volumes": []}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        CHUNKED + b"5\r\nab",
        CHUNKED + b"5\r\nabcde\r\n",
        CHUNKED + b"-5\r\n",
        CHUNKED + b"many\r\n",
        CHUNKED + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n1",
    ],
)
def test_an_answer_cut_short_is_an_error_and_not_half_an_answer(tmp_path: Path, answer: bytes) -> None:
    with FakeDaemon(tmp_path, {"GET /volumes": raw_answer(answer)}) as fake, pytest.raises(Unreachable):
        connect(fake).get("/volumes")


def test_something_else_than_http_is_told(tmp_path: Path) -> None:
    answer = raw_answer(b"SSH-2.0-OpenSSH\r\n\r\n")
    with (
        FakeDaemon(tmp_path, {"GET /volumes": answer}) as fake,
        pytest.raises(Unreachable, match="does not speak HTTP"),
    ):
        connect(fake).get("/volumes")


def test_an_answer_that_is_no_json_is_told(tmp_path: Path) -> None:
    answer = raw_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
    with FakeDaemon(tmp_path, {"GET /volumes": answer}) as fake, pytest.raises(ClientError, match="no JSON"):
        connect(fake).get("/volumes")


def test_an_error_carries_the_daemons_words_and_status(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path, {"GET /volumes": (409, {"message": "in use"})}) as fake:
        with pytest.raises(ApiError, match="in use") as caught:
            connect(fake).get("/volumes")
        assert caught.value.status == 409


def test_calls_that_follow_one_another_share_a_connection(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path, {"GET /a": {"x": 1}, "DELETE /b": 204, "POST /c": {"y": [2]}}) as fake:
        api = connect(fake)
        assert (api.get("/a"), api.delete("/b"), api.post("/c", body={})) == ({"x": 1}, None, {"y": [2]})
        assert [asked.method for asked in fake.asked] == ["GET", "DELETE", "POST"]


def test_nobody_at_the_address_says_how_to_start_the_daemon(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="orlop daemon"):
        Api(Address(f"unix://{tmp_path}/nobody")).get("/volumes")


def test_a_file_is_sent_whole_from_where_it_stands(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    path = tmp_path / "archive"
    path.write_bytes(content)
    counted: list[int] = []
    with FakeDaemon(tmp_path, {"POST /images/load": {}}) as fake, path.open("rb") as source:
        source.seek(10)
        connect(fake).upload("POST", "/images/load", None, source, len(content) - 10, counted.append).read()
        assert fake.last.body == content[10:]
    assert sum(counted) == len(content) - 10


def test_a_stream_is_sent_in_chunks(tmp_path: Path) -> None:
    content = b"x" * 1_000_000
    with FakeDaemon(tmp_path, {"POST /images/load": {}}) as fake:
        connect(fake).upload("POST", "/images/load", None, io.BytesIO(content), None, lambda _: None).read()
        assert fake.last.body == content


def test_an_early_refusal_of_an_upload_is_heard_though_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "early.sock"
    answer = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 17\r\n\r\n{"message":"no!"}'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        api = Api(Address(f"unix://{path}"))

        def serve() -> None:
            for reply in (b"HTTP/1.1 200 OK\r\nApi-Version: 1.52\r\nConnection: close\r\n\r\n", answer):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(reply)

        with ThreadPoolExecutor(1) as pool:
            served = pool.submit(serve)
            with pytest.raises(ApiError, match="no!"):
                api.upload("PUT", "/x", None, io.BytesIO(b"a" * 50_000_000), None, lambda _: None)
            served.result(10)


def test_a_connection_taken_over_keeps_what_came_with_the_head(tmp_path: Path) -> None:
    answer = raw_answer(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
    with FakeDaemon(tmp_path, {"POST /x": answer}) as fake:
        connection, received = connect(fake).hijack("/x")
        with connection:
            while piece := connection.recv(100):
                received += piece
    assert received == b"early"


def test_messages_of_a_stream_are_told_apart_however_they_are_cut(tmp_path: Path) -> None:
    pieces = [b'{"a":1}\r\n{"b"', b':"x\xc3', b'\xa4"}{"c":3}\n\n']
    body = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    with FakeDaemon(tmp_path, {"GET /events": raw_answer(body)}) as fake:
        response = connect(fake).stream("GET", "/events")
        assert list(json_messages(response)) == [{"a": 1}, {"b": "xä"}, {"c": 3}]


def test_queries_leave_out_what_is_not_said() -> None:
    assert render_query({"a": None, "b": False}) == ""
    assert (
        render_query({"a": True, "n": 0, "s": "x y/ä", "many": ("1", "2")}) == "?a=1&n=0&s=x%20y%2F%C3%A4&many=1&many=2"
    )
    assert quote("../a") == "..%2Fa"
    assert render_filters({}) is None


@pytest.mark.parametrize(
    ("text", "path", "host", "port"),
    [
        ("unix:///run/x.sock", "/run/x.sock", "", 0),
        ("/run/x.sock", "/run/x.sock", "", 0),
        ("tcp://localhost:2375", "", "localhost", 2375),
        ("tcp://[::1]:2375/", "", "::1", 2375),
    ],
)
def test_addresses(text: str, path: str, host: str, port: int) -> None:
    address = Address(text)
    assert (address.path, address.host, address.port) == (path, host, port)


@pytest.mark.parametrize(
    "text", ["ssh://me@there", "tcp://there", "tcp://:1", "tcp://there:99999", "unix://", "npipe:////./x"]
)
def test_addresses_that_are_not_spoken_are_refused(text: str) -> None:
    with pytest.raises(ClientError, match="invalid host"):
        Address(text)


def test_the_option_goes_before_the_environment() -> None:
    both = {"ORLOP_HOST": "unix:///orlop", "DOCKER_HOST": "unix:///docker"}
    assert from_environment("unix:///option", both).path == "/option"
    assert from_environment("", both).path == "/orlop"
    assert from_environment("", {"DOCKER_HOST": "unix:///docker"}).path == "/docker"
    assert from_environment("", {}).path == "/var/run/docker.sock"
    with pytest.raises(ClientError, match="TLS"):
        from_environment("", {"DOCKER_HOST": "tcp://x:2376", "DOCKER_TLS_VERIFY": "1"})
