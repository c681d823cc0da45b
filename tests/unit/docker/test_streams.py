"""Attach, exec, logs, wait, events: connections that last."""

import dataclasses
import os
import socket
import threading

import pytest

from orlop.engine.container_records import WaitResult
from orlop.model.container import ContainerState, Status
from support.edge import Answer, Exchange, Fakes, Served, wait_until

UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


def frames(exchange: Exchange, count: int) -> list[tuple[int, bytes]]:
    found = []
    for _ in range(count):
        head = exchange.exactly(8)
        found.append((head[0], exchange.exactly(int.from_bytes(head[4:], "big"))))
    return found


def attach(served: Served, query: str = "stream=1&stdin=1&stdout=1&stderr=1", name: str = "app") -> Exchange:
    exchange = served.connect()
    exchange.request("POST", f"/v1.41/containers/{name}/attach?{query}", **UPGRADE)
    assert exchange.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n")
    return exchange


def test_attach_carries_both_streams_in_frames_and_input_in_packets(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    with attach(served) as exchange:
        inside = fakes.sessions.attached[0]
        inside.send(b"\x02out")
        inside.send(b"\x03err")
        assert frames(exchange, 2) == [(1, b"out"), (2, b"err")]
        exchange.send(b"typed")
        assert inside.recv(100) == b"typed"
        inside.close()
        assert exchange.is_closed()


def test_attach_before_start_is_upgraded_at_once_and_keeps_what_was_typed(served: Served, fakes: Fakes) -> None:
    fakes.container("app", running=False, open_stdin=True)
    fakes.sessions.by_hand = True
    with attach(served) as exchange:
        exchange.send(b"early ")
        exchange.send(b"bird")
        inside = fakes.sessions.connect()
        received = b""
        while len(received) < 10:
            received += inside.recv(100)
        assert received == b"early bird"
        inside.send(b"\x02hello")
        assert frames(exchange, 1) == [(1, b"hello")]


def test_a_client_that_goes_away_before_the_start_gives_up_waiting(served: Served, fakes: Fakes) -> None:
    fakes.container("app", running=False)
    fakes.sessions.by_hand = True
    with attach(served):
        future = fakes.sessions.attachments[0]
    wait_until(future.cancelled)


def test_a_client_that_goes_away_lets_go_of_the_container(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with attach(served):
        inside = fakes.sessions.attached[0]
    assert inside.recv(100) == b""


def test_end_of_input_reaches_the_container_and_output_goes_on(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    with attach(served) as exchange:
        inside = fakes.sessions.attached[0]
        exchange.send(b"all")
        exchange.socket.shutdown(socket.SHUT_WR)
        assert inside.recv(100) == b"all"
        assert inside.recv(100) == b""
        inside.send(b"\x02later")
        assert frames(exchange, 1) == [(1, b"later")]


def test_input_goes_to_the_process_itself_where_it_can(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    fakes.sessions.with_pipe = True
    with attach(served) as exchange:
        inside, pipe = fakes.sessions.attached[0], fakes.sessions.read_input
        exchange.send(b"typed")
        assert os.read(pipe, 100) == b"typed"
        exchange.socket.shutdown(socket.SHUT_WR)
        assert os.read(pipe, 100) == b"", "the pump has closed its end"
        assert inside.recv(100) == b"", "and said so to the supervisor, which got no byte"
        inside.send(b"\x02later")
        assert frames(exchange, 1) == [(1, b"later")]
    os.close(pipe)


def test_input_that_the_process_reads_slowly_waits_and_comes_whole(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    fakes.sessions.with_pipe = True
    sent = os.urandom(3 << 20)
    with attach(served) as exchange:
        sender = threading.Thread(target=lambda: (exchange.send(sent), exchange.socket.shutdown(socket.SHUT_WR)))
        sender.start()
        received = b""
        while data := os.read(fakes.sessions.read_input, 5000):
            received += data
        sender.join()
        assert received == sent
    os.close(fakes.sessions.read_input)


def test_input_that_nobody_reads_any_more_is_dropped_and_output_goes_on(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    fakes.sessions.with_pipe = True
    with attach(served) as exchange:
        os.close(fakes.sessions.read_input)
        for _ in range(3):
            exchange.send(b"to nobody" * 100_000)
        fakes.sessions.attached[0].send(b"\x02on")
        assert frames(exchange, 1) == [(1, b"on")]
        exchange.socket.shutdown(socket.SHUT_WR)
        assert fakes.sessions.attached[0].recv(100) == b""


def test_a_client_that_leaves_takes_its_end_of_the_input_along(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    fakes.sessions.with_pipe = True
    with attach(served) as exchange:
        exchange.send(b"last words")
        assert os.read(fakes.sessions.read_input, 100) == b"last words"
    assert os.read(fakes.sessions.read_input, 100) == b""
    assert fakes.sessions.attached[0].recv(100) == b""
    os.close(fakes.sessions.read_input)


def test_a_terminal_is_sent_raw(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True, tty=True)
    with attach(served) as exchange:
        fakes.sessions.attached[0].send(b"\x02$ ")
        assert exchange.exactly(2) == b"$ "


def test_only_the_streams_asked_for_are_sent(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with attach(served, "stream=1&stderr=1") as exchange:
        inside = fakes.sessions.attached[0]
        inside.send(b"\x02no")
        inside.send(b"\x03yes")
        assert frames(exchange, 1) == [(2, b"yes")]
        exchange.send(b"not wanted")
        inside.send(b"\x03on")
        assert frames(exchange, 1) == [(2, b"on")]
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.recv(100)


@pytest.mark.parametrize(
    ("typed", "arrives"),
    [
        (b"ab\x10\x11cd", b"ab"),
        (b"ab\x10x\x10\x10\x11", b"ab\x10x\x10"),
    ],
)
def test_detach_keys_end_the_attachment_and_are_not_typed(
    served: Served, fakes: Fakes, typed: bytes, arrives: bytes
) -> None:
    fakes.container("app", open_stdin=True, tty=True)
    with attach(served) as exchange:
        inside = fakes.sessions.attached[0]
        exchange.send(typed)
        assert exchange.is_closed()
        received = b""
        while data := inside.recv(100):
            received += data
        assert received == arrives


def test_detach_keys_may_be_chosen(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True, tty=True)
    with attach(served, "stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,d") as exchange:
        exchange.send(b"\x01d")
        assert exchange.is_closed()


def test_without_a_terminal_detach_keys_are_bytes_like_others(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    with attach(served) as exchange:
        exchange.send(b"\x10\x11")
        assert fakes.sessions.attached[0].recv(100) == b"\x10\x11"


def test_unknown_detach_keys_are_refused(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    answer = served.call("POST", "/containers/app/attach?stream=1&detachKeys=ctrl-%C3%A4")
    assert answer.status == 400


def test_without_upgrade_the_stream_follows_the_head(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    with served.connect() as exchange:
        exchange.request("POST", "/v1.42/containers/app/attach?stream=1&stdin=1&stdout=1")
        status, headers = exchange.head()
        assert (status, headers["content-type"]) == (200, "application/vnd.docker.multiplexed-stream")
        exchange.send(b"GET /_ping HTTP/1.1\r\n\r\n")  # not a request any more
        assert fakes.sessions.attached[0].recv(100) == b"GET /_ping HTTP/1.1\r\n\r\n"


def test_bytes_sent_together_with_the_request_are_input(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    with served.connect() as exchange:
        exchange.send(
            b"POST /containers/app/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n\x00\xffearly\r\n\r\n"
        )
        exchange.head()
        assert fakes.sessions.attached[0].recv(100) == b"\x00\xffearly\r\n\r\n"


def test_megabytes_pass_both_ways(served: Served, fakes: Fakes) -> None:
    """What the container reads it writes back, as `cat` does."""
    fakes.container("app", open_stdin=True)
    sent = bytes(range(251)) * 40_000
    with attach(served, "stream=1&stdin=1&stdout=1") as exchange:
        inside = fakes.sessions.attached[0]

        def echo() -> None:
            while data := inside.recv(40_000):
                for start in range(0, len(data), 8192):
                    inside.send(b"\x02" + data[start : start + 8192])
            inside.close()

        def write() -> None:
            exchange.send(sent)
            exchange.socket.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=echo), threading.Thread(target=write)]
        for thread in threads:
            thread.start()
        raw = exchange.rest()
        for thread in threads:
            thread.join(10)
    received, position = [], 0
    while position < len(raw):
        length = int.from_bytes(raw[position + 4 : position + 8], "big")
        received.append(raw[position + 8 : position + 8 + length])
        position += 8 + length
    assert b"".join(received) == sent


def test_a_container_that_does_not_read_makes_the_client_wait(served: Served, fakes: Fakes) -> None:
    fakes.container("app", open_stdin=True)
    with attach(served, "stream=1&stdin=1&stdout=1") as exchange:
        exchange.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for _ in range(200):
                exchange.send(b"x" * 100_000)
        assert served.call("GET", "/_ping").body == b"OK"


def test_exec_runs_over_the_taken_connection(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    wish = {"Cmd": ["sh"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
    exec_id = served.call("POST", "/containers/app/exec", wish).json["Id"]
    with served.connect() as exchange:
        exchange.request("POST", f"/exec/{exec_id}/start", {"Detach": False}, **UPGRADE)
        assert exchange.head()[0] == 101
        wait_until(lambda: bool(fakes.sessions.attached))
        inside = fakes.sessions.attached[0]
        exchange.send(b"id\n")
        assert inside.recv(100) == b"id\n"
        inside.send(b"\x02uid=0")
        assert frames(exchange, 1) == [(1, b"uid=0")]
        inside.close()
        fakes.sessions.ends[0].set_result(None)
        assert exchange.is_closed()


def test_an_exec_that_cannot_start_says_so_in_its_stream(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    exec_id = served.call("POST", "/containers/app/exec", {"Cmd": ["missing"], "AttachStdout": True}).json["Id"]
    with served.connect() as exchange:
        exchange.request("POST", f"/exec/{exec_id}/start", {}, **UPGRADE)
        assert exchange.head()[0] == 101
        assert frames(exchange, 1) == [(1, b'exec: "missing": executable file not found in $PATH\r\n')]
        assert exchange.is_closed()


def test_exec_detached_answers_at_once(served: Served, fakes: Fakes) -> None:
    exec_id = served.call("POST", "/containers/app/exec", {"Cmd": ["true"]}).json["Id"]
    assert served.call("POST", f"/exec/{exec_id}/start", {"Detach": True}).status == 200


def test_exec_without_a_command_is_refused(served: Served) -> None:
    answer = served.call("POST", "/containers/app/exec", {"AttachStdout": True})
    assert (answer.status, answer.message) == (400, "No exec command specified")


def log_line(second: int, stream: str, text: str, tag: str = "F") -> str:
    return f"2026-01-02T03:04:{second:02d}.123456789+00:00 {stream} {tag} {text}\n"


def read_log(served: Served, query: str) -> list[tuple[int, bytes]]:
    answer = served.call("GET", f"/containers/app/logs?{query}")
    assert answer.status == 200
    return split(answer)


def split(answer: Answer) -> list[tuple[int, bytes]]:
    found, rest = [], answer.body
    while rest:
        length = int.from_bytes(rest[4:8], "big")
        found.append((rest[0], rest[8 : 8 + length]))
        rest = rest[8 + length :]
    return found


def test_logs_are_framed_by_stream(served: Served, fakes: Fakes) -> None:
    app = fakes.container("app", running=False)
    fakes.write_log(app, log_line(1, "stdout", "one") + log_line(2, "stderr", "two") + log_line(3, "stdout", "three"))
    assert read_log(served, "stdout=1&stderr=1") == [(1, b"one\n"), (2, b"two\n"), (1, b"three\n")]
    assert read_log(served, "stderr=1&timestamps=1") == [(2, b"2026-01-02T03:04:02.123456789Z two\n")]
    assert read_log(served, "stdout=1&tail=1") == [(1, b"three\n")]
    assert read_log(served, "stdout=1&stderr=1&since=1767323042.5") == [(1, b"three\n")]


def test_logs_without_a_stream_are_refused(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    assert served.call("GET", "/containers/app/logs").message.endswith("you must choose at least one stream")


def test_followed_logs_grow_and_end_with_the_container(served: Served, fakes: Fakes) -> None:
    app = fakes.container("app")
    fakes.write_log(app, log_line(1, "stdout", "one"))
    with served.connect() as exchange:
        exchange.request("GET", "/containers/app/logs?stdout=1&follow=1")
        exchange.head()
        chunks = exchange.chunks()
        assert next(chunks)[8:] == b"one\n"
        fakes.write_log(app, log_line(2, "stdout", "two"))
        assert next(chunks)[8:] == b"two\n"
        fakes.write_log(app, log_line(3, "stdout", "three"))
        fakes.containers.put(dataclasses.replace(app, status=Status(ContainerState.EXITED)))
        assert b"".join(chunks)[8:] == b"three\n"


def test_attach_replays_the_log_first(served: Served, fakes: Fakes) -> None:
    app = fakes.container("app")
    fakes.write_log(app, log_line(1, "stdout", "before"))
    with attach(served, "logs=1&stream=1&stdout=1") as exchange:
        assert frames(exchange, 1) == [(1, b"before\n")]
        fakes.sessions.attached[0].send(b"\x02after")
        assert frames(exchange, 1) == [(1, b"after")]


def test_wait_sends_its_head_at_once_and_the_code_later(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with served.connect() as exchange:
        exchange.request("POST", "/containers/app/wait?condition=next-exit")
        assert exchange.head()[0] == 200
        wait_until(lambda: bool(fakes.containers.waiting))
        fakes.containers.waiting[0].set_result(WaitResult(137))
        assert b"".join(exchange.chunks()) == b'{"StatusCode":137}\n'
    assert fakes.containers.asked == ["next-exit"]


def test_a_waiter_that_goes_away_stops_waiting(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with served.connect() as exchange:
        exchange.request("POST", "/containers/app/wait")
        exchange.head()
        wait_until(lambda: bool(fakes.containers.waiting))
    wait_until(lambda: fakes.containers.waiting[0].cancelled())


def test_an_unknown_condition_is_refused(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    assert served.call("POST", "/containers/app/wait?condition=soon").status == 400


def test_events_of_the_past_come_first_then_new_ones(served: Served, fakes: Fakes) -> None:
    fakes.events.publish("volume", "create", "data", {"driver": "local"})
    with served.connect() as exchange:
        exchange.request("GET", "/events?since=0&filters=%7B%22type%22%3A%5B%22volume%22%5D%7D")
        exchange.head()
        chunks = exchange.chunks()
        assert b'"Action":"create"' in next(chunks)
        fakes.events.publish("container", "start", "c" * 64)
        fakes.events.publish("volume", "destroy", "data", {"driver": "local"})
        assert b'"Action":"destroy"' in next(chunks)


def test_events_until_a_time_in_the_past_end(served: Served, fakes: Fakes) -> None:
    fakes.events.publish("container", "die", "c" * 64, {"image": "busybox", "name": "app", "exitCode": "0"})
    assert served.call("GET", "/events?since=0&until=1").body == b""


def test_nobody_listens_any_more_after_the_client_has_gone(served: Served, fakes: Fakes) -> None:
    with served.connect() as exchange:
        exchange.request("GET", "/events")
        exchange.head()
        assert served.call("GET", "/info").json["NEventsListener"] == 1
    wait_until(lambda: served.call("GET", "/info").json["NEventsListener"] == 0)


def test_a_server_that_stops_ends_what_lasts(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    with served.connect() as events, served.connect() as wait, attach(served) as attached:
        events.request("GET", "/events")
        events.head()
        wait.request("POST", "/containers/app/wait")
        wait.head()
        wait_until(lambda: bool(fakes.containers.waiting))
        served.stop()
        for exchange in (events, wait, attached):
            assert exchange.is_closed()
    wait_until(fakes.containers.waiting[0].cancelled)
    assert fakes.sessions.attached[0].recv(100) == b"", "the container is let go"
    fakes.events.publish("volume", "create", "later")  # reaches nobody and harms nobody
