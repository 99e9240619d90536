"""The server as a process: what it answers is what the library answers, and bad requests are told what is wrong."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from served import process, table

import pushforward as pf
from pushforward.cli import app as cli

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
HEAD = "POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ARROW = "application/vnd.apache.arrow.stream"
ROW = {
    "x": 0.5,
    "group": "a",
    "n": 41,
    "stars": 3,
    "new": False,
    "day": "2023-01-31",
    "at": "2022-02-01T12:00:00",
    "posted": "31/01/2023",
    "double": 1.0,
}


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status of an answer, and what it holds."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if data is None else {"content-type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, kind | named)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            content, status, kind = answer.read(), answer.status, answer.headers["content-type"]
    except urllib.error.HTTPError as error:
        content, status, kind = error.read(), error.code, error.headers["content-type"]
    return status, json.loads(content) if kind == "application/json" else content


def ok(url: str, body: Any = None, **headers: str) -> Any:
    status, found = ask(url, body, **headers)
    assert status == 200, found
    return found


def refused(url: str, body: Any, status: int, *words: str, **headers: str) -> Any:
    code, found = ask(url, body, **headers)
    assert code == status, found
    for word in words:
        assert word in found["detail"], found
    assert ok(f"{url.rsplit('/', 1)[0]}/health") == {"status": "ok"}
    return found


def as_json(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(row, default=lambda moment: moment.isoformat())) for row in frame.to_dicts()]


def as_arrow(frame: pl.DataFrame, compression: str | None = None) -> bytes:
    rows, sink = frame.to_arrow(), io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def test_scores_are_those_of_the_library(url: str, model: pf.TableDensity) -> None:
    frame = table().head(150)
    found = ok(f"{url}/score", {"rows": as_json(frame)})
    assert set(found) == {"log_density", "percentile", "notes"}
    np.testing.assert_allclose(found["log_density"], model.score_samples(frame), atol=1e-4)
    np.testing.assert_allclose(found["percentile"], model.percentile(model.score_samples(frame)), atol=0.05)


def test_parts_of_rows_get_their_marginal_density_with_its_error(url: str, model: pf.TableDensity) -> None:
    rows = [{"x": 0.1, "group": "a"}, ROW, {"x": 0.2, "group": "b"}, {"x": 0.1, "group": None}]
    found = ok(f"{url}/score", {"rows": rows, "errors": True})
    some = pl.DataFrame({"x": [0.1, 0.2, 0.1], "group": ["a", "b", None]})
    value, error = model.score_samples(some, errors=True)
    np.testing.assert_allclose([found["log_density"][j] for j in (0, 2, 3)], value, atol=1e-4)
    np.testing.assert_allclose([found["standard_error"][j] for j in (0, 2, 3)], error, atol=1e-4)
    assert [p is None for p in found["percentile"]] == [True, False, True, True]


def test_given_columns_make_it_a_conditional_density(url: str, model: pf.TableDensity) -> None:
    frame = table().head(5)
    found = ok(f"{url}/score", {"rows": as_json(frame), "given": ["group", "x"]})
    np.testing.assert_allclose(found["log_density"], model.score_samples(frame, given=["group", "x"]), atol=1e-4)
    assert found["percentile"] == [None] * 5


def test_a_row_that_breaks_a_relation_has_no_density(url: str) -> None:
    found = ok(f"{url}/score", {"rows": [{**ROW, "double": 7.0}, ROW]})
    assert found["log_density"][0] is None
    assert found["percentile"][0] == 0.0
    assert found["log_density"][1] is not None


def test_samples_are_those_of_the_library(url: str, model: pf.TableDensity) -> None:
    found = ok(f"{url}/sample", {"n": 5, "seed": 3})["rows"]
    drawn = model.sample(5, random_state=3)
    assert [row["n"] for row in found] == drawn["n"].to_list()
    assert [row["day"] for row in found] == [day.isoformat() for day in drawn["day"]]
    assert list(found[0]) == drawn.columns
    given = ok(f"{url}/sample", {"n": 20, "given": {"group": "b", "day": "2023-01-31", "x": None}, "seed": 0})["rows"]
    assert {(row["group"], row["day"]) for row in given} == {("b", "2023-01-31")}
    assert len({row["x"] for row in given}) > 1
    known = {"x": {"low": 0, "high": 1}, "stars": [1, 2], "posted": {"low": "01/06/2023"}}
    inside = pl.DataFrame(ok(f"{url}/sample", {"n": 20, "given": known})["rows"])
    assert inside["x"].is_between(0, 1).all()
    assert set(inside["stars"]) == {1, 2}
    assert (inside["posted"].str.to_date("%d/%m/%Y") >= dt.date(2023, 6, 1)).all()
    assert ok(f"{url}/sample", {"n": 2, "given": "x > 3 AND n > 40"})["rows"][0]["x"] > 3
    fresh = [ok(f"{url}/sample", {"n": 2})["rows"] for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_drawn_rows_can_be_scored_as_they_came(url: str) -> None:
    rows = ok(f"{url}/sample", {"n": 30, "seed": 1})["rows"]
    assert None not in ok(f"{url}/score", {"rows": rows})["log_density"]


def test_holes_are_filled_and_nothing_else(url: str) -> None:
    holed = [{**ROW, "n": None, "group": None, "posted": "2023-01-31"}, {"x": 1.0}]
    found = ok(f"{url}/impute", {"rows": holed, "seed": 0, "draws": 2})["rows"]
    assert len(found) == 4
    assert {row["group"] for row in found} <= {"a", "b"}
    assert all(found[j]["x"] == 0.5 and found[j]["posted"] == "31/01/2023" for j in (0, 2))
    assert found == ok(f"{url}/impute", {"rows": holed, "seed": 0, "draws": 2})["rows"]


def test_a_strange_cell_is_blamed(url: str) -> None:
    (found,) = ok(f"{url}/explain", {"rows": [{**ROW, "n": 400}]})["rows"]
    assert found["unlikely_because"] == "n"
    assert found["gain"] == found["gain_n"] > 10


def test_questions_are_answered(url: str, model: pf.TableDensity) -> None:
    found = ok(f"{url}/ask", {"where": "x > 0 AND n < 40", "given": {"group": "a"}})
    value, error = model.probability("x > 0 AND n < 40", {"group": "a"}, errors=True)
    assert found["probability"] == pytest.approx(value, abs=1e-4)
    assert found["standard_error"] == pytest.approx(error, abs=1e-4)
    both = ok(f"{url}/ask", {"where": {"group": ["a", "b"]}, "given": "x BETWEEN 0 AND 1"})
    assert both["probability"] == pytest.approx(1.0, abs=1e-6)
    refused(f"{url}/ask", {"where": "nothing > 1"}, 422, "nothing")
    ranges = {"where": {"x": {"low": 1}, "day": {"high": "2022-12-31"}}, "given": {"stars": [1, 2], "n": None}}
    value = model.probability({"x": (1, None), "day": (None, dt.date(2022, 12, 31))}, {"stars": [1, 2]})
    assert ok(f"{url}/ask", ranges)["probability"] == pytest.approx(value, abs=1e-4)
    for asked in ({"x": {"least": 1}}, {"x": {"low": "1"}}, {"x": ["1"]}, {"group": "z"}, {"x": {"low": 2, "high": 1}}):
        refused(f"{url}/ask", {"where": asked}, 422, "where", next(iter(asked)))
    assert "low" not in refused(f"{url}/ask", {"where": {"group": 5}}, 422, "a list")["detail"]  # names have no range
    for asked in ({"where": 5}, {"where": "x > 0", "given": []}):
        refused(f"{url}/ask", asked, 422, f"'{[*asked][-1]}'", "SQL, or columns")


def test_a_column_is_predicted(url: str, model: pf.TableDensity) -> None:
    rows = table().head(3).drop("posted")
    found = ok(f"{url}/predict", {"rows": [ROW], "column": "x", "kind": "median"})["rows"]
    assert isinstance(found[0]["x"], float)
    shares = pl.read_ipc_stream(ok(f"{url}/predict?column=group&kind=proba", as_arrow(rows), content_type=ARROW))
    assert shares.sum_horizontal().to_numpy() == pytest.approx(1.0, abs=1e-6)
    refused(f"{url}/predict", {"rows": [ROW], "column": "nothing"}, 422, "nothing")


def test_a_row_that_cannot_be_is_said(url: str) -> None:
    rows = [ROW, {**ROW, "n": -4e6}]
    for path, asked in (("score", {"given": ["n"]}), ("predict", {"column": "x"})):
        found = ok(f"{url}/{path}", {"rows": rows, **asked})
        assert [
            value is None for value in found.get("log_density", [row.get("x") for row in found.get("rows", ())])
        ] == [
            False,
            True,
        ]
        assert "row 2" in found["notes"][0]
    assert ok(f"{url}/predict", {"rows": rows[:1], "column": "x"})["notes"] == []


def test_rows_without_a_score_take_no_place_of_long_requests(url: str) -> None:
    body = {"rows": [{**ROW, "n": -4e6}], "given": ["n"]}
    with ThreadPoolExecutor(16) as pool:
        assert all(found["notes"] for found in pool.map(lambda _: ok(f"{url}/score", body), range(32)))


def test_many_rows_come_and_go_as_arrow(url: str, model: pf.TableDensity) -> None:
    frame = table().head(300)
    truth = model.score_samples(frame)
    body = ok(f"{url}/score", as_arrow(frame), content_type=ARROW)
    found = pl.read_ipc_stream(body)
    assert found.columns == ["log_density", "percentile", "standard_error"]
    np.testing.assert_allclose(found["log_density"], truth, atol=1e-4)
    given = ok(
        f"{url}/score?given=group&given=x", as_arrow(frame.head(9)), content_type=ARROW, accept="application/json"
    )
    np.testing.assert_allclose(
        given["log_density"], model.score_samples(frame.head(9), given=["group", "x"]), atol=1e-4
    )
    drawn = pl.read_ipc_stream(ok(f"{url}/sample", {"n": 7, "seed": 3}, accept=ARROW))
    assert drawn["at"].to_list() == model.sample(7, random_state=3)["at"].to_list()
    holed = frame.head(4).with_columns(n=pl.lit(None, pl.Int64))
    filled = pl.read_ipc_stream(ok(f"{url}/impute?seed=1", as_arrow(holed), content_type=ARROW))
    assert filled["n"].null_count() == 0
    few = pl.read_ipc_stream(ok(f"{url}/score", {"rows": [ROW]}, accept=ARROW))
    assert few.height == 1


BAD = [
    ({"rows": [ROW, {**ROW, "n": "many"}]}, 422, ("row 2", "'n'", "a finite number", "'many'")),
    ({"rows": [{**ROW, "group": "c"}]}, 422, ("row 1", "'group'", "one of a, b", "'c'")),
    ({"rows": [{**ROW, "stars": 9}]}, 422, ("'stars'", "one of 1, 2, 3, 4, 5")),
    ({"rows": [{**ROW, "new": "no"}]}, 422, ("'new'", "true or false")),
    ({"rows": [{**ROW, "day": "soon"}]}, 422, ("'day'", "2024-01-31", "'soon'")),
    ({"rows": [{**ROW, "colour": 1}]}, 422, ("'colour'", "unknown column", "group")),
    ({"rows": [ROW], "given": ["colour"]}, 422, ("given", "colour", "has the columns")),
    ({"rows": [{"group": "a"}], "given": ["group"]}, 422, ("no column is left",)),
    ({"rows": [{}]}, 422, ("row 1", "no value in any column")),
    ({"rows": []}, 422, ("'rows'", "at least 1 item, got []")),
    ({"rows": {"x": 1}}, 422, ("'rows'", "array")),
    ({"row": [ROW]}, 422, ("'rows'", "nothing")),
    ([ROW], 422, ("an object",)),
    ({"rows": [ROW] * 501}, 413, ("501 rows", "500")),
    (b'{"rows": [{"x": NaN}]}', 422, ("row 1", "'x'", "a finite number", "nan")),
    (b'{"rows": [{"x": -Infinity}]}', 422, ("'x'", "-inf")),
    (b'{"rows": [{"x": 1e999}]}', 422, ("'x'", "inf")),
    (b'{"rows": [{"x": 1', 400, ("not JSON",)),
    (b"\xff\xfe", 400, ("not JSON",)),
    (b"", 400, ("not JSON",)),
    (b"[" * 100_000, 400, ("not JSON",)),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD, ids=range(len(BAD)))
def test_a_bad_request_is_told_what_is_wrong(url: str, body: Any, status: int, words: tuple[str, ...]) -> None:
    found = refused(f"{url}/score", body, status, *words)
    assert "Traceback" not in str(found)
    assert "/tmp" not in str(found)


def test_all_bad_cells_are_listed(url: str) -> None:
    found = refused(f"{url}/score", {"rows": [{**ROW, "n": "a"}, {**ROW, "x": "b", "new": 3}]}, 422)
    assert [(bad["row"], bad["column"]) for bad in found["problems"]] == [(1, "n"), (2, "x"), (2, "new")]


def test_bad_questions_of_the_other_verbs(url: str) -> None:
    refused(f"{url}/sample", {"n": 0}, 422, "'n'", "greater than or equal to 1")
    refused(f"{url}/sample", {"n": 501}, 413, "501 rows")
    refused(f"{url}/sample", {"n": 1, "given": {"x": "a"}}, 422, "given", "'x'", "a finite number")
    refused(f"{url}/sample", {"n": 1, "seed": -1}, 422, "'seed'")
    refused(f"{url}/impute", {"rows": [ROW] * 100, "draws": 6}, 413, "600 rows")
    refused(f"{url}/explain", {"rows": [{"x": 1}]}, 422, "column")
    refused(f"{url}/sample", {"n": 1, "given": "/etc/passwd"}, 422, '"given"')
    refused(f"{url}/impute", {"rows": "/etc/passwd"}, 422, "'rows'")
    refused(f"{url}/ask", {"where": "," * 15_000}, 422, '"where"')  # no row of cells, however many commas
    refused(f"{url}/nothing", {}, 404, "/score")
    assert ask(f"{url}/score")[0] == 405
    assert ok(f"{url}/health/") == ok(f"{url}/health")


def test_bad_arrow_is_refused(url: str) -> None:
    frame = table().head(20)
    whole = as_arrow(frame)
    for body in (b"", b"nonsense" * 9, whole[: len(whole) // 2]):
        refused(f"{url}/score", body, 400, "Arrow", content_type=ARROW)
    refused(f"{url}/score", as_arrow(frame, "zstd"), 400, "without compression", content_type=ARROW)
    infinite = frame.with_columns(x=pl.when(pl.int_range(20) == 3).then(float("inf")).otherwise(pl.col("x")))
    refused(f"{url}/score", as_arrow(infinite), 422, "row 4", "'x'", "finite", content_type=ARROW)
    for name, kind in (("day", pl.Int32), ("at", pl.Int64)):  # no Python can hold such moments
        late = frame.with_columns(
            pl.lit(2**31 - 1 if kind == pl.Int32 else 2**62, kind).cast(frame[name].dtype).alias(name)
        )
        refused(f"{url}/score", as_arrow(late), 422, "row 1", f"'{name}'", content_type=ARROW)
    refused(f"{url}/score", as_arrow(frame.rename({"n": "m"})), 422, "'m'", "unknown column", content_type=ARROW)
    refused(f"{url}/score", as_arrow(pl.concat([frame] * 26)), 413, "520 rows", content_type=ARROW)
    refused(f"{url}/score", as_arrow(frame.with_columns(n=pl.lit("a"))), 422, "'n'", content_type=ARROW)
    refused(f"{url}/impute?draws=x", as_arrow(frame), 422, "'draws'", content_type=ARROW)
    refused(f"{url}/score", as_arrow(frame.head(0)), 422, "no rows", content_type=ARROW)


def test_damaged_arrow_never_ends_the_server(url: str) -> None:
    whole, rng = as_arrow(table().head(20)), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            damaged[place] = rng.integers(256)
        status, _ = ask(f"{url}/score", bytes(damaged), content_type=ARROW)
        assert status in (200, 400, 413, 422)


def memory(server: int) -> float:
    """Megabytes of resident memory."""
    return int(Path(f"/proc/{server}/statm").read_text().split()[1]) * 4096 / 2**20


def send(url: str, head: str, parts: Any) -> tuple[int, bytes]:
    """The answer to a request that is written by hand: its status, and what it holds."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        for part in parts:
            connection.sendall(part)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.slow
def test_a_gigabyte_is_refused_and_takes_no_memory_and_long_jobs_stand_aside(fitted: Path) -> None:
    million = bytes(2**20)
    with process(str(fitted)) as (url, server), ThreadPoolExecutor(1) as pool:
        before = memory(server.pid)
        head = f"{HEAD}Content-Length: {2**30}\r\n\r\n"
        status, said = send(url, head, (million for _ in range(2**10)))
        assert (status, b"longer than 16,777,216 bytes" in said) == (413, True)
        expecting = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
        assert send(url, expecting, ())[0] == 413  # before a byte of it is sent
        assert send(url, head.replace(str(2**30), "9" * 14), ())[0] == 413  # and more than could be sent in time
        assert memory(server.pid) - before < 40
        refused(f"{url}/score", {"rows": "x" * 2**24}, 413, "bytes")
        long = pool.submit(ok, f"{url}/sample", {"n": 10_000, "given": {"x": 0.5, "group": "a"}, "seed": 0})
        time.sleep(0.2)
        ok(f"{url}/score", {"rows": [ROW]})
        assert not long.done()  # single rows need not wait for it
        assert len(long.result()["rows"]) == 10_000


def test_many_clients_at_once_get_their_own_answers(url: str, model: pf.TableDensity) -> None:
    frame = table().head(60)
    rows, truth = as_json(frame), model.score_samples(frame)
    address = url.removeprefix("http://")
    barrier = threading.Barrier(16)

    def client(start: int) -> float:
        connection = http.client.HTTPConnection(address, timeout=60)
        barrier.wait()
        worst = 0.0
        for place in range(start, start + 12):
            some = slice(place % 60, place % 60 + 1)
            wrong = place % 6 == 5  # bad requests between good ones
            body = {"rows": [{**rows[place % 60], "n": "a"}] if wrong else rows[some]}
            connection.request("POST", "/score", json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            assert answer.status == (422 if wrong else 200), found
            if not wrong:
                worst = max(worst, abs(found["log_density"][0] - truth[place % 60]))
        connection.close()
        return worst

    with ThreadPoolExecutor(16) as pool:
        assert max(pool.map(client, range(16))) < 1e-4
    counted = ok(f"{url}/metrics").decode()
    assert 'pushforward_requests_total{path="/score",status="200"}' in counted
    batches = float(
        next(line for line in counted.splitlines() if line.startswith("pushforward_batch_rows_count")).split()[1]
    )
    rows_scored = next(line for line in counted.splitlines() if line.startswith("pushforward_batch_rows_sum"))
    assert batches < float(rows_scored.split()[1])  # some were scored together


def test_info_and_the_schema_of_the_model(url: str) -> None:
    found = ok(f"{url}/info")
    assert [column["name"] for column in found["columns"]] == list(ROW)
    assert found["columns"][-1]["role"] == "follows"
    assert found["limits"] == {"rows": 500, "bytes": 2**20, "seconds": 20.0}
    assert "/tmp" not in json.dumps(found)
    assert found["flow"] == "maf"
    schema = ok(f"{url}/openapi.json")
    assert set(schema["paths"]) == {
        "/health",
        "/info",
        "/metrics",
        "/score",
        "/sample",
        "/impute",
        "/ask",
        "/predict",
        "/drift",
        "/explain",
    }
    row = schema["components"]["schemas"]["Row"]
    assert list(row["properties"]) == list(ROW)
    assert row["properties"]["group"]["anyOf"][0]["enum"] == ["a", "b"]
    asked = schema["paths"]["/score"]["post"]["requestBody"]["content"]
    assert set(asked) == {"application/json", ARROW}
    name = asked["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert schema["components"]["schemas"][name]["properties"]["rows"]["items"]["$ref"].endswith("/Row")


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["serve", *arguments]) == 2
    return capsys.readouterr().err


def test_a_server_that_cannot_start_says_why(
    fitted: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = url.rsplit(":", 1)[1]
    assert f"--port {port}: is in use" in fails(capsys, str(fitted), "--port", port)
    assert "no such model" in fails(capsys, str(tmp_path / "nothing"))
    assert "--port 70000" in fails(capsys, str(fitted), "--port", "70000")
    assert "--host nowhere.invalid" in fails(capsys, str(fitted), "--host", "nowhere.invalid")
    assert "--host 203.0.113.7" in fails(capsys, str(fitted), "--host", "203.0.113.7")
    assert "--max-rows 0" in fails(capsys, str(fitted), "--max-rows", "0")
    assert "--timeout: expected" in fails(capsys, str(fitted), "--timeout", "never")
    pictures = pf.ImageDensity("pixelcnn", levels=4, hidden=(4,), layers=1, steps=1)
    pictures.fit(np.random.default_rng(0).integers(0, 4, (60, 4, 4)).astype(np.uint8)).save(tmp_path / "pictures")
    assert "holds images" in fails(capsys, str(tmp_path / "pictures"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in fitted.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:-100] if file.is_file() else b"")
    assert f"{damaged}: is not a readable model" in fails(capsys, str(damaged))


def test_an_answer_that_takes_too_long_says_how_long() -> None:
    from pushforward.serving.app import Server
    from pushforward.serving.metrics import Metrics
    from pushforward.serving.options import ServeOptions

    async def late(_: Any) -> Any:
        await asyncio.sleep(60)

    server: Any = SimpleNamespace(limits=ServeOptions(timeout=0.01), metrics=Metrics(), cells=None)
    answer: Any = asyncio.run(Server.in_time(server, late, None))  # type: ignore[arg-type]
    assert (answer.status_code, b" 0.02 s" in answer.body) == (503, True)

    async def stopped() -> Any:
        task = asyncio.ensure_future(Server.in_time(server, late, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()  # as a server does that has to end
        return await task

    server.limits = ServeOptions(timeout=30)
    assert asyncio.run(stopped()).status_code == 503


def test_drift_that_nobody_asked_for_has_no_figure() -> None:
    from prometheus_client import generate_latest

    from pushforward.serving.app import Server
    from pushforward.serving.metrics import Metrics
    from pushforward.serving.refusals import Refused

    lines = generate_latest(Metrics().registry).decode().splitlines()
    assert {"pushforward_drift_p_value NaN", "pushforward_drift_effect NaN"} <= set(lines)
    server: Any = SimpleNamespace(metrics=Metrics())
    with pytest.raises(Refused) as raised:
        asyncio.run(Server.drift(server, None))  # type: ignore[arg-type]
    assert raised.value.status == 422


@pytest.mark.slow
def test_drift_of_rows_and_of_those_that_were_scored_last(url: str, model: pf.TableDensity) -> None:
    frame = table(1_200)[600:]
    far = frame[:300].with_columns(pl.col("x") + 3.0).drop("double")
    same, moved = as_json(frame[:300]), as_json(far)
    found = ok(f"{url}/drift", {"rows": same})
    expected = model.drift(frame[:300])
    assert found["p_value"] == pytest.approx(expected.p_value)
    assert (found["verdict"], found["columns"]) == (expected.verdict, expected.columns)
    assert [w["window"] for w in ok(f"{url}/drift", {"rows": same, "by": "group"})["windows"]] == ["a", "b"]
    refused(f"{url}/drift", {"rows": same[:5]}, 422, "5 rows: 10 are needed")
    refused(f"{url}/drift", {"rows": same, "by": "nobody"}, 422, "no such column")
    ok(f"{url}/score", as_arrow(far), content_type=ARROW)  # whole numbers, not floats
    for rows in (moved, moved, moved):  # more than a window holds
        ok(f"{url}/score", {"rows": rows})
    changed = ok(f"{url}/drift")
    assert changed["p_value"] < 0.01
    assert changed["columns"][0] == "x"
    assert changed["new_rows"] == 1_000
    figures = dict(line.rsplit(" ", 1) for line in ok(f"{url}/metrics").decode().splitlines() if line[:1] != "#")
    assert float(figures["pushforward_window_rows"]) == 1_000
    assert float(figures["pushforward_window_odd"]) > 0.2
    assert float(figures["pushforward_drift_p_value"]) == changed["p_value"]
    assert float(figures["pushforward_drift_effect"]) == pytest.approx(changed["effect"])
