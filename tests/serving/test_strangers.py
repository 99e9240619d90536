"""The server among strangers: slow and endless heads, other names and sites, tokens, clients that hang up, its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import signal
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served import process, table

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from starlette.datastructures import Address

from pushforward.serving.batching import JOBS, Batcher, Jobs
from pushforward.serving.connection import LINGER
from pushforward.serving.refusals import Refused

POST = "POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of a server that waits a second for a head, and knows one more name and a token."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text("open-sesame\n")
    with process(str(fitted), "--timeout", "1s", "--allow-host", "tables.example", "--token-file", str(file)) as (
        url,
        running,
    ):
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)
        assert running.poll() is None


def asked(server: tuple[str, int], path: str = "/score", body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer; with a token unless another is given."""
    connection = http.client.HTTPConnection(*server, timeout=30)
    given = {"content-type": "application/json", "authorization": "Bearer open-sesame"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, json.dumps(body), given)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def answered(one: socket.socket) -> http.client.HTTPResponse:
    """The next answer on a connection."""
    answer = http.client.HTTPResponse(one)
    answer.begin()
    return answer


def all_of(one: socket.socket) -> bytes:
    """All that comes on a connection until it ends."""
    return b"".join(iter(lambda: one.recv(4096), b""))


@pytest.fixture(scope="module")
def question() -> dict[str, Any]:
    return {"rows": [{"x": 0.5, "group": "a"}]}


def test_heads_that_stop_are_closed_in_time_and_others_are_served(server: tuple[str, int], question: Any) -> None:
    stops = ["", "P", "POST /score HT", POST, f"{POST}X-Long: abc", "GET /health HTTP/1.1\r\nHost: loc"]
    sockets = [socket.create_connection(server, timeout=10) for _ in range(60)]
    for place, one in enumerate(sockets):
        one.sendall(stops[place % len(stops)].encode())
    started = time.monotonic()
    assert asked(server, body=question)[0] == 200
    for place, one in enumerate(sockets):
        said = all_of(one)
        assert said.startswith(b"HTTP/1.1 408"), (stops[place % len(stops)], said)
        one.close()
    assert time.monotonic() - started < 8


def test_a_second_head_that_stops_on_an_open_connection_is_closed_too(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        said = all_of(one)
    assert said.startswith(b"HTTP/1.1 200")
    assert said.count(b"HTTP/1.1") == 2
    assert b"HTTP/1.1 408" in said


def test_slow_and_broken_requests_end(server: tuple[str, int], question: Any) -> None:
    slow = f"{POST}Authorization: Bearer open-sesame\r\nContent-Length: 100\r\n\r\n{{"
    for said, status in ((slow, 408), ("NONSENSE\r\n\r\n", 400)):
        with socket.create_connection(server, timeout=10) as one:
            one.sendall(said.encode())
            answer = answered(one)
            assert answer.status == status
        socket.create_connection(server).close()
    assert asked(server, body=question)[0] == 200


@pytest.mark.parametrize("head", [f"{POST}X-Long: ", "GET /", f"{POST}" + "A: b\r\n" * 10_000])
def test_an_endless_head_is_refused_and_takes_no_memory(
    server: tuple[str, int], fitted: Path, question: Any, head: str
) -> None:
    with socket.create_connection(server, timeout=10) as one:
        started, sent = time.monotonic(), 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            one.sendall(head.encode())
            while sent < 120 * 2**20 and time.monotonic() - started < 5:
                sent += one.send(b"a" * 2**16)
        assert sent < 20 * 2**20  # what the system's buffers hold at most
    assert asked(server, body=question)[0] == 200


def test_an_answer_that_is_not_read_is_dropped_in_time(server: tuple[str, int], question: Any) -> None:
    body, token = '{"n": 2000}', "Authorization: Bearer open-sesame\r\n"
    head = f"{POST.replace('score', 'sample')}{token}Content-Length: {len(body)}\r\n\r\n"
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # so that the system keeps little for the server
        one.settimeout(10)
        one.connect(server)
        one.sendall(f"{head}{body}".encode())
        time.sleep(4)
        answer = answered(one)
        assert answer.status == 200
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
    assert asked(server, body=question)[0] == 200


def test_large_bodies_behind_one_another_are_not_taken_for_heads(server: tuple[str, int], question: Any) -> None:
    body = json.dumps(question).encode() + b" " * 2**17
    head = f"{POST}Authorization: Bearer open-sesame\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(server, timeout=30) as one:
        one.sendall((head + body) * 2)
        for _ in range(2):
            answer = answered(one)
            assert (answer.status, len(json.loads(answer.read())["log_density"])) == (200, 1)


@pytest.mark.parametrize(("host", "most"), [("evil.example", 1), ("localhost", 9)])
def test_few_requests_are_read_ahead_and_none_after_a_refusal(server: tuple[str, int], host: str, most: int) -> None:
    with socket.create_connection(server, timeout=10) as one, contextlib.suppress(ConnectionResetError):
        one.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() * 200)
        said = b""
        while part := one.recv(4096):  # of what came before a reset
            said += part
    assert 1 <= said.count(b"HTTP/1.1") <= most


def test_nothing_more_is_read_of_a_body_that_is_refused(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as one:
        one.sendall(f"{POST}Content-Length: {2**30}\r\n\r\n".encode())
        answer = answered(one)
        assert answer.status == 401
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 2**30:
                sent += one.send(b" " * 2**16)
    assert sent < 20 * 2**20  # what the system's buffers hold at most


def test_a_request_in_pieces_behind_another_is_answered(server: tuple[str, int], question: Any) -> None:
    body = json.dumps(question).encode()
    head = f"{POST}Authorization: Bearer open-sesame\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(server, timeout=10) as one:
        one.sendall(head + body + head + body[:5])
        answer = answered(one)
        first = answer.read()
        one.sendall(body[5:])
        answer = answered(one)
        assert (answer.status, answer.read()) == (200, first)


def test_a_connection_whose_body_was_refused_says_that_it_ends(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as one:
        one.sendall(f"{POST}Content-Length: 9\r\n\r\n".encode())
        answer = answered(one)
        assert answer.status == 401
        answer.read()
        one.settimeout(0.9 * LINGER)
        assert one.recv(1) == b""


def test_bodies_wait_for_those_that_their_client_sent_before(server: tuple[str, int], question: Any) -> None:
    body = json.dumps(question).encode() + b" " * 2**22
    head = f"{POST}Authorization: Bearer open-sesame\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def status(_: int) -> int:
        with socket.create_connection(server, timeout=30) as one:
            one.sendall(head + body)
            answer = answered(one)
            return answer.status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(status, range(8))) == {200}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:80"}, 421),
        ({"host": "tables.example"}, 200),
        ({"host": "TABLES.example:443"}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "10.1.2.3"}, 200),
        ({"host": "localhost", "origin": "http://localhost"}, 200),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"authorization": "Bearer another"}, 401),
        ({"authorization": "Basic open-sesame"}, 401),
        ({"authorization": ""}, 401),
        ({"host": "localhost/?", "authorization": ""}, 421),  # whose path would need no token
        ({"host": "127.0.0.1/x"}, 421),
        ({"host": "evil.example@127.0.0.1"}, 421),
        ({"host": "localhost#"}, 421),
        ({"host": ""}, 421),
        ({"host": "["}, 421),
        ({"host": "localhost", "origin": "http://["}, 403),
    ],
    ids=str,
)
def test_who_may_ask(server: tuple[str, int], question: Any, headers: dict[str, str], status: int) -> None:
    found, said = asked(server, body=question, **headers)
    assert found == status, said
    assert ("detail" in said) == (status != 200)


def test_a_probe_needs_no_token(server: tuple[str, int]) -> None:
    assert asked(server, "/health", authorization="")[0] == 200
    assert asked(server, "/info", authorization="")[0] == 401


class Stays:
    """A request of a client that waits for its answer."""

    def __init__(self, client: str = "127.0.0.1") -> None:
        self.client = Address(client, 1)

    async def receive(self) -> dict[str, str]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}


class HangsUp(Stays):
    async def receive(self) -> dict[str, str]:
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}


def test_one_client_does_not_take_all_places_of_long_requests_or_of_rows_that_wait() -> None:
    async def asked_of(jobs: Jobs, rows: Batcher) -> tuple[list[Any], int, list[Any], Any]:
        mine: Any = [jobs.run(Stays("127.0.0.3"), time.sleep, 0.02) for _ in range(JOBS)]  # type: ignore[arg-type]
        found = asyncio.gather(*mine, return_exceptions=True)
        await asyncio.sleep(0)
        another = await jobs.run(Stays(), abs, -1)  # type: ignore[arg-type]
        scored = asyncio.gather(*(rows.ask("127.0.0.3", 0, range(64)) for _ in range(65)), return_exceptions=True)
        return await found, another, await scored, await rows.ask("127.0.0.1", 0, [7])

    jobs, rows = Jobs(), Batcher(lambda _, some: some, lambda _: None)
    found, another, scored, one = asyncio.run(asked_of(jobs, rows))
    assert [isinstance(each, Refused) and each.status for each in found] == JOBS // 2 * [False] + JOBS // 2 * [429]
    assert another == 1
    assert sum(isinstance(each, Refused) for each in scored) == 65 - 32
    assert one == [7]


def test_jobs_of_clients_that_hung_up_are_left_out_or_stopped() -> None:
    begun: list[int] = []

    def long(number: int) -> None:
        begun.append(number)
        for _ in range(3000):
            time.sleep(0.01)

    async def asked_of(jobs: Jobs) -> tuple[list[Any], list[int]]:
        left: Any = [jobs.run(HangsUp(), long, k) for k in range(5)]  # type: ignore[arg-type]
        found = await asyncio.gather(*left, return_exceptions=True)
        return found, [await jobs.run(Stays(), abs, -k) for k in range(3)]  # type: ignore[arg-type]

    jobs, started = Jobs(), time.monotonic()
    found, answers = asyncio.run(asked_of(jobs))
    jobs.thread.shutdown(wait=False, cancel_futures=True)
    assert [type(each) for each in found] == 5 * [Refused]
    assert answers == [0, 1, 2]
    assert len(begun) == 1
    assert time.monotonic() - started < 20  # the one that has begun takes 30 s


def test_a_client_that_hung_up_keeps_its_places_among_long_requests_for_a_second() -> None:
    async def asked_of(jobs: Jobs) -> tuple[list[Any], Any, Any]:
        left: Any = [jobs.run(HangsUp("127.0.0.3"), time.sleep, 0.01 * k) for k in range(30, 30 + JOBS // 2)]  # type: ignore[arg-type]
        hung_up = await asyncio.gather(*left, return_exceptions=True)
        again: Any = jobs.run(Stays("127.0.0.3"), abs, -1)  # type: ignore[arg-type]
        refused, another = (await asyncio.gather(again, return_exceptions=True))[0], await jobs.run(Stays(), abs, -1)  # type: ignore[arg-type]
        await asyncio.sleep(1.1)
        return [*hung_up, refused], another, await jobs.run(Stays("127.0.0.3"), abs, -2)  # type: ignore[arg-type]

    refused, another, later = asyncio.run(asked_of(Jobs()))
    assert [each.status for each in refused] == JOBS // 2 * [499] + [429]
    assert (another, later) == (1, 2)


@pytest.mark.slow
def test_what_clients_sent_that_hung_up_is_not_kept_until_its_turn() -> None:
    async def asked_of(jobs: Jobs, over: threading.Event) -> Any:
        first = asyncio.ensure_future(jobs.run(Stays(), over.wait, 60))  # type: ignore[arg-type]
        await asyncio.sleep(0)  # it begins
        sent = {1}
        known, left = weakref.ref(sent), jobs.run(HangsUp(), len, sent)  # type: ignore[arg-type]
        del sent
        with contextlib.suppress(Refused):
            await left
        del left
        gc.collect()
        found = known()
        over.set()
        return found, await first

    assert asyncio.run(asked_of(Jobs(), threading.Event())) == (None, True)


@pytest.mark.slow
def test_it_ends_when_it_is_told_and_answers_first(fitted: Path) -> None:
    with process(str(fitted)) as (url, running), ThreadPoolExecutor(1) as pool:
        host, port = url.removeprefix("http://").split(":")
        idle = socket.create_connection((host, int(port)))
        rows = table(300).select("x", "group").with_columns(x=None).to_dicts()
        answer = pool.submit(asked, (host, int(port)), "/impute", {"rows": rows, "seed": 0})
        time.sleep(0.3)
        running.send_signal(signal.SIGTERM)
        assert answer.result(timeout=30)[0] == 200
        assert running.wait(timeout=15) == 0
        idle.close()
        with pytest.raises(ConnectionError):
            socket.create_connection((host, int(port)), timeout=5)


def test_a_token_is_read_once_as_from_a_pipe(tmp_path: Path) -> None:
    from pushforward.serving.options import ServeOptions

    file = tmp_path / "token"
    file.write_text("secret\n")
    options = ServeOptions(token_file=file)
    assert options.token == "secret"
    file.unlink()
    assert options.token == "secret"


def test_a_server_has_no_empty_name(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pushforward.cli import app as cli

    assert cli.main(["serve", str(fitted), "--allow-host", ""]) == 2
    assert capsys.readouterr().err == "pushforward: --allow-host: expected a name\n"


def test_a_token_file_without_a_token_is_refused(tmp_path: Path, fitted: Path) -> None:
    from pushforward.cli import app as cli

    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "none"):
        assert cli.main(["serve", str(fitted), "--port", "0", "--token-file", str(tmp_path / name)]) == 2


@pytest.fixture(scope="module")
def strict(fitted: Path) -> Iterator[tuple[str, int]]:
    """The address of a server with which a client may have two requests and eight connections open."""
    with process(str(fitted), "--max-per-client", "2") as (url, _):
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def test_one_client_may_hold_its_share_and_others_are_served(strict: tuple[str, int], question: Any) -> None:
    with contextlib.ExitStack() as stack:
        body = f"{POST}Content-Length: 100\r\n\r\n".encode()

        def opened(number: int) -> list[socket.socket]:
            from_another = {"timeout": 10, "source_address": ("127.0.0.2", 0)}
            return [stack.enter_context(socket.create_connection(strict, **from_another)) for _ in range(number)]

        held = opened(2)
        for one in held:
            one.sendall(body)
        time.sleep(0.3)
        third = opened(1)[0]
        third.sendall(body)
        assert third.recv(4096).startswith(b"HTTP/1.1 429")
        assert asked(strict, body=question)[0] == 200
        held[0].close()
        time.sleep(0.3)
        fourth = opened(1)[0]
        fourth.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert fourth.recv(4096).startswith(b"HTTP/1.1 200")
        late = opened(20)[-1]
        assert late.recv(4096).startswith(b"HTTP/1.1 429")
        assert asked(strict, body=question)[0] == 200


def test_an_endless_head_behind_a_long_request_is_not_read(strict: tuple[str, int]) -> None:
    body = json.dumps({"n": 10_000, "given": {"x": 0.5, "group": "a"}})
    head = f"{POST.replace('score', 'sample')}Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(strict, timeout=0.3) as one:
        one.sendall(f"{head}{body}{POST}X-Long: ".encode())
        started, sent = time.monotonic(), 0
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 3:
                sent += one.send(b"a" * 2**16)
        assert sent < 20 * 2**20  # what the system's buffers hold at most
        one.settimeout(30)
        assert one.recv(4096).startswith(b"HTTP/1.1 200")


def test_connections_that_would_be_another_protocol_keep_no_place(strict: tuple[str, int], question: Any) -> None:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode()
    for _ in range(10):  # more than the connections that one client may have
        with socket.create_connection(strict, timeout=10) as one:
            one.sendall(head)
            assert not one.recv(4096).startswith(b"HTTP/1.1 429")
        time.sleep(0.1)
    assert asked(strict, body=question)[0] == 200


def test_a_request_with_a_body_that_would_be_another_protocol_is_refused(strict: tuple[str, int]) -> None:
    head = "POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(strict, timeout=10) as one:
        one.sendall(f"{head}{{}}".encode())
        answer = answered(one)
        assert (answer.status, "without the header Upgrade" in answer.read().decode()) == (400, True)


@pytest.mark.parametrize("row", ["{}", "[]", '{"x":1}', pytest.param('{"group":"nobody"}', marks=pytest.mark.slow)])
def test_rows_by_the_million_are_refused_at_once_and_take_no_memory(
    server: tuple[str, int], question: Any, row: str
) -> None:
    started = time.monotonic()
    connection = http.client.HTTPConnection(*server, timeout=30)
    with contextlib.closing(connection):
        headers = {"content-type": "application/json", "authorization": "Bearer open-sesame"}
        connection.request("POST", "/score", f'{{"rows":[{",".join([row] * (2**21 // len(row)))}]}}', headers)
        assert connection.getresponse().status == 413
    assert time.monotonic() - started < 10
    assert asked(server, body=question)[0] == 200
