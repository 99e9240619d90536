"""The files of `docs/deploy`: each is checked by the program that reads it, and proxies pass requests on."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import process

pytest.importorskip("starlette")
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def upstream(fitted: Path) -> Iterator[str]:
    """The address of a server that goes by the name of the examples."""
    with process(str(fitted), "--allow-host", "tables.example") as (url, _):
        yield url.removeprefix("http://")


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def scored(port: int) -> float:
    """The log-density of a row, asked of a proxy by its name, as soon as it listens."""
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"host": "tables.example", "content-type": "application/json", "origin": "http://tables.example"}
        with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
            connection.request("POST", "/score", json.dumps({"rows": [{"x": 0.5, "group": "a"}]}), headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return float(json.loads(answer.read())["log_density"][0])
        time.sleep(0.1)
    raise AssertionError("the proxy does not listen")


@needs("nginx")
def test_nginx(tmp_path: Path, upstream: str, port: int) -> None:
    site = (DEPLOY / "nginx.conf").read_text()
    site = site.replace("127.0.0.1:8000", upstream).replace("443 ssl", f"127.0.0.1:{port}")
    site = "\n".join(line for line in site.splitlines() if "ssl_" not in line)
    paths = "".join(f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {paths}\n{site}\n}}"
    (tmp_path / "nginx.conf").write_text(main)
    command = ["nginx", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:
        assert scored(port) < 0
        proxy.terminate()


@needs("caddy")
def test_caddy(tmp_path: Path, upstream: str, port: int) -> None:
    site = (DEPLOY / "Caddyfile").read_text()
    site = site.replace("127.0.0.1:8000", upstream).replace("tables.example", f"http://tables.example:{port}")
    (tmp_path / "Caddyfile").write_text("{\n\tadmin off\n}\n" + site)
    command = [str(shutil.which("caddy")), "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={"HOME": str(tmp_path)}) as proxy:
        assert scored(port) < 0
        proxy.terminate()


@needs("systemd-analyze")
def test_systemd(tmp_path: Path) -> None:
    unit = (DEPLOY / "pushforward.service").read_text()
    (tmp_path / "pushforward.service").write_text(
        unit.replace("/opt/pushforward/bin/pushforward", shutil.which("true") or "")
    )
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "pushforward.service")], capture_output=True, text=True
    )
    assert (checked.returncode, "pushforward.service" in checked.stderr) == (0, False), checked.stderr


def test_the_container_runs_the_wheel_as_nobody() -> None:
    """And writes nothing: what is run is of the first stage, and the page starts it read-only."""
    build, image = (DEPLOY / "Dockerfile").read_text().split("\nFROM ", 2)[1:]
    assert "COPY dist/*.whl" in build
    words = [line.split()[0] for line in image.splitlines() if line and not line.startswith(" ")]
    assert "RUN" not in words
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "USER nobody\n" in image
    assert "docker run --read-only" in (DEPLOY.parent / "proxies.md").read_text()
