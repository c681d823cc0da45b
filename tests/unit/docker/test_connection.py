"""The corners of HTTP, by raw socket."""

import contextlib
import threading
from pathlib import Path

import pytest

from support.edge import Fakes, Served, wait_until


def test_ping_says_ok_and_names_the_newest_version(served: Served) -> None:
    answer = served.call("GET", "/_ping")
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["api-version"] == "1.52"
    assert answer.headers["ostype"] == "linux"


def test_head_has_the_headers_and_no_body(served: Served) -> None:
    with served.connect() as exchange:
        answer = exchange.call("HEAD", "/_ping")
        assert answer.headers["content-length"] == "2"
        assert exchange.call("GET", "/_ping").body == b"OK"


def test_a_connection_is_kept_for_many_calls(served: Served) -> None:
    with served.connect() as exchange:
        for _ in range(5):
            assert exchange.call("GET", "/_ping").status == 200


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    with served.connect() as exchange:
        exchange.request("GET", "/info")  # slower: it goes through a pool
        exchange.request("GET", "/_ping")
        exchange.request("POST", "/volumes/create", {"Name": "data"})
        exchange.request("GET", "/volumes/data")
        assert exchange.answer().json["Name"] == "host"
        assert exchange.answer().body == b"OK"
        assert exchange.answer().status == 201
        assert exchange.answer().json["Name"] == "data"


def test_thousands_of_pipelined_requests_are_all_answered(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        assert all(exchange.answer().body == b"OK" for _ in range(3000))


def test_requests_before_a_half_close_are_still_answered(served: Served) -> None:
    with served.connect() as exchange:
        exchange.request("GET", "/info")
        exchange.request("GET", "/_ping")
        exchange.socket.shutdown(1)
        assert exchange.answer().status == 200
        assert exchange.answer().body == b"OK"
        assert exchange.is_closed()


def test_a_request_may_arrive_byte_by_byte(served: Served) -> None:
    with served.connect() as exchange:
        for byte in (
            b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 15\r\n\r\n{"Name":"data"}'
        ):
            exchange.send(bytes([byte]))
        assert exchange.answer().json["Name"] == "data"


def test_connection_close_is_obeyed(served: Served) -> None:
    with served.connect() as exchange:
        assert exchange.call("GET", "/_ping", Connection="close").headers["connection"] == "close"
        assert exchange.is_closed()


def test_http_1_0_gets_a_plain_body_and_a_close(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with served.connect() as exchange:
        exchange.send(b"GET /containers/app/export HTTP/1.0\r\n\r\n")
        status, headers = exchange.head()
        assert status == 200
        assert "transfer-encoding" not in headers
        assert len(exchange.rest()) == 10_000_000


def test_an_absolute_url_means_its_path(served: Served) -> None:
    assert served.call("GET", "http://docker/v1.41/_ping").body == b"OK"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"x" * 70_000, 431),
    ],
)
def test_a_malformed_request_is_refused_and_the_connection_closed(served: Served, raw: bytes, status: int) -> None:
    with served.connect() as exchange:
        exchange.send(raw)
        answer = exchange.answer()
        assert answer.status == status
        assert answer.message
        assert answer.headers["connection"] == "close"
        assert exchange.is_closed()


@pytest.mark.parametrize("chunks", [b"4\r\n12345\r\n", b"zz\r\n", b"-1\r\n", b"\r\n", b"x" * 5000])
def test_wrong_chunks_are_refused(served: Served, chunks: bytes) -> None:
    with served.connect() as exchange:
        exchange.send(
            b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks
        )
        assert exchange.answer().status == 400
        assert exchange.is_closed()


def test_a_chunked_body_and_what_follows_it(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(
            b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
            b'5;a=b\r\n{"Nam\r\na\r\ne":"data"}\r\n0\r\nTrailer: x\r\n\r\n'
            b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert exchange.answer().json["Name"] == "data"
        assert exchange.answer().body == b"OK"


def test_bodies_that_came_with_their_heads_stay_apart(served: Served) -> None:
    """Heads that are alike, and what follows each."""
    head = b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    ping = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
    with served.connect() as exchange:
        exchange.send(head + b'{"Name":"one1"}' + head + b'{"Name":"two2"}' + ping + ping + head + b'{"Name":')
        assert [exchange.answer().json["Name"] for _ in range(2)] == ["one1", "two2"]
        assert [exchange.answer().body for _ in range(2)] == [b"OK", b"OK"]
        exchange.send(b'"six6"}' + head.replace(b": 15", b": 14") + b'{"Name":"me7"}' + ping)
        assert [exchange.answer().json["Name"] for _ in range(2)] == ["six6", "me7"]
        assert exchange.answer().body == b"OK"


def test_a_head_like_the_last_one_but_for_a_letter_is_another_one(served: Served) -> None:
    with served.connect() as exchange:
        for name in ("data", "date", "data"):
            exchange.request("GET", f"/volumes/{name}")
            assert exchange.answer().status == 404
        exchange.call("POST", "/volumes/create", {"Name": "date"})
        answers = [exchange.call("GET", f"/volumes/{name}").status for name in ("date", "data", "data", "date")]
        assert answers == [200, 404, 404, 200]


def test_a_body_that_came_with_its_head_and_that_nobody_reads_costs_no_connection(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(b"POST /nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert exchange.answer().status == 404
        assert exchange.call("GET", "/_ping").body == b"OK"


def test_expect_continue_is_answered_when_the_body_is_wanted(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(
            b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 15\r\n\r\n"
        )
        assert exchange.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        exchange.send(b'{"Name":"data"}')
        assert exchange.answer().status == 201


def test_expect_continue_is_not_answered_when_the_body_is_not_wanted(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(b"POST /nosuch HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n")
        assert exchange.answer().status == 404
        assert exchange.is_closed()


def test_an_answer_survives_a_body_that_nobody_reads(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(b"POST /nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000)
        assert exchange.answer().status == 404
        exchange.send(b"x" * 50_000)
        assert exchange.is_closed()


def test_a_json_body_has_a_limit(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(
            b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 20000000\r\n\r\n"
        )
        for _ in range(9):
            exchange.send(b" " * (1 << 20))
        assert exchange.answer().status == 413


def test_an_upload_goes_to_a_file_and_the_file_goes_away(served: Served, fakes: Fakes, tmp_path: Path) -> None:
    upload = bytes(range(256)) * 20_000
    answer = served.call("POST", "/images/load", upload, Content_Type="application/x-tar")
    assert b"Loaded image: busybox:latest" in answer.body
    assert fakes.images.received == [upload]
    assert list((tmp_path / "data/orlop/incoming").iterdir()) == []


def test_an_upload_that_is_cut_off_leaves_nothing(served: Served, fakes: Fakes, tmp_path: Path) -> None:
    incoming = tmp_path / "data/orlop/incoming"
    with served.connect() as exchange:
        exchange.send(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 3_000_000)
        wait_until(lambda: any(incoming.iterdir()))
    wait_until(lambda: not any(incoming.iterdir()))
    assert fakes.images.received == []


def test_an_upload_that_ends_early_is_refused(served: Served, fakes: Fakes) -> None:
    with served.connect() as exchange:
        exchange.send(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nabc")
        exchange.socket.shutdown(1)
        assert exchange.answer().status == 400
    assert fakes.images.received == []


def test_large_answers_wait_for_a_slow_reader(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with served.connect() as exchange:
        exchange.request("GET", "/containers/app/export")
        assert served.call("GET", "/_ping").body == b"OK"
        body = exchange.answer().body
    assert body == b"".join(bytes([number]) * 1_000_000 for number in range(10))


def test_an_error_before_the_first_byte_is_an_answer(served: Served, fakes: Fakes) -> None:
    fakes.container("broken")
    assert served.call("GET", "/containers/broken/export").status == 409


def test_an_error_after_the_first_byte_cuts_the_body(served: Served, fakes: Fakes) -> None:
    fakes.container("half")
    with served.connect() as exchange:
        exchange.request("GET", "/containers/half/export")
        assert exchange.head()[0] == 200
        with pytest.raises((EOFError, ConnectionError)):
            list(exchange.chunks())


def test_short_calls_are_answered_while_long_ones_block(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    exchanges = [served.connect() for _ in range(40)]
    try:
        for exchange in exchanges:
            exchange.request("POST", "/containers/app/stop")
        wait_until(lambda: len(fakes.containers.asked) >= 32)
        assert served.call("GET", "/containers/json").status == 200
        assert served.call("POST", "/containers/app/kill?signal=9").status == 204
        fakes.containers.stop_gate.set()
        assert {exchange.answer("POST").status for exchange in exchanges} == {204}
    finally:
        fakes.containers.stop_gate.set()
        for exchange in exchanges:
            exchange.socket.close()


def test_ping_is_answered_while_the_engine_loads_and_the_rest_waits(tmp_path: Path, fakes: Fakes) -> None:
    with Served(tmp_path / "s", fakes, with_engine=False) as served, served.connect() as exchange:
        exchange.request("GET", "/info")
        assert served.call("GET", "/_ping").body == b"OK"
        served.provide()
        assert exchange.answer().json["Name"] == "host"


def test_a_defect_is_answered_with_an_id_and_no_traceback(served: Served, fakes: Fakes) -> None:
    def explode(reference: str) -> None:
        raise ZeroDivisionError("secret")

    fakes.containers.get = explode  # type: ignore[method-assign, assignment]
    answer = served.call("GET", "/containers/app/json")
    assert answer.status == 500
    assert "internal error" in answer.message
    assert "secret" not in answer.message


def time_out_all(served: Served) -> None:
    """As if all deadlines had passed."""
    called = threading.Event()

    def act() -> None:
        for connection in list(served.server.connections):
            connection.time_out()
        called.set()

    served.in_loop(act)
    assert called.wait(10)


@pytest.mark.parametrize(
    "half",
    [
        b"GET /_ping HTTP/1.1\r\nHo",
        b"POST /volumes/create HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{",
        b"POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ],
)
def test_half_a_request_is_told_that_time_is_up(served: Served, half: bytes) -> None:
    with served.connect() as exchange:
        exchange.send(half)
        wait_until(lambda: any(connection.deadline for connection in list(served.server.connections)))
        exchange.socket.settimeout(0.01)
        answer = None
        while answer is None:  # the deadline counts from when the server has read what was sent
            time_out_all(served)
            with contextlib.suppress(TimeoutError):
                answer = exchange.answer()
        assert answer.status == 408
        exchange.socket.settimeout(10)
        assert exchange.is_closed()


def test_a_client_that_does_not_leave_after_a_refusal_is_left(served: Served) -> None:
    with served.connect() as exchange:
        exchange.send(b"nonsense\r\n\r\n")
        assert exchange.answer().status == 400
        assert served.server.connections
        time_out_all(served)
        wait_until(lambda: not served.server.connections)


def test_a_server_that_stops_lets_short_calls_end(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with served.connect() as exchange, served.connect() as idle:
        assert idle.call("GET", "/_ping").status == 200
        exchange.request("POST", "/containers/app/stop")
        wait_until(lambda: bool(fakes.containers.asked))
        served.stop()
        assert idle.is_closed()
        fakes.containers.stop_gate.set()
        assert exchange.answer("POST").status == 204
        assert exchange.is_closed()
