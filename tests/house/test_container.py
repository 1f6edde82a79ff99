"""The image and the compose file promise what the code keeps: ports, settings, user, health, and what stays private."""

from __future__ import annotations

import ipaddress
import json
import re
import threading
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from collab_server.settings import Settings
from commands.cli import app
from infra.image.healthcheck import lives
from tests.services.server import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
KNOWN_SETTINGS = {f"COLLAB_{name.upper()}" for name in Settings.model_fields}


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and argument of each instruction, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined)]


INSTRUCTIONS = instructions(DOCKERFILE)
LAST_STAGE = INSTRUCTIONS[max(n for n, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


def the(name: str) -> str:
    """The one such instruction of the stage that ships."""
    (found,) = [argument for instruction, argument in LAST_STAGE if instruction == name]
    return found


def resolved(value: str) -> str:
    """A compose value with nothing set in the caller's environment: `${NAME:-default}` is its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_both_stages_start_from_the_base_that_is_asked_for() -> None:
    assert INSTRUCTIONS[0] == ("ARG", "BASE=python:3.13-slim")
    assert [argument for name, argument in INSTRUCTIONS if name == "FROM"] == ["${BASE} AS build", "${BASE}"]


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    user, _, group = the("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_the_image_serves_and_stops_well() -> None:
    assert json.loads(the("ENTRYPOINT")) == ["collab-server"]
    (command,) = json.loads(the("CMD"))
    assert command in COMMANDS
    assert the("STOPSIGNAL") == "SIGTERM"


def test_the_image_exposes_the_ports_that_the_server_listens_on() -> None:
    ports = {Settings.model_fields[name].default for name in ("ws_port", "admin_port")}
    assert {int(port) for port in the("EXPOSE").split()} == ports


def test_the_image_checks_its_health_with_the_script_that_ships() -> None:
    command = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    assert command == ["python", "/opt/collab-server/healthcheck.py"]
    assert "infra/image/healthcheck.py /opt/collab-server/healthcheck.py" in DOCKERFILE


def test_the_environment_of_the_image_is_made_of_real_settings() -> None:
    assert set(re.findall(r"\bCOLLAB_\w+(?==)", the("ENV"))) <= KNOWN_SETTINGS


def test_everything_installed_is_pinned_by_hash() -> None:
    installs = [line for name, line in INSTRUCTIONS if name == "RUN" and "requirements" in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_the_build_tools_are_those_of_the_other_locks() -> None:
    """Else: `uv pip compile` as the first lines of infra/image/requirements-build.lock say."""
    elsewhere = (ROOT / "requirements-embedded.lock").read_text()
    pinned = re.findall(r"^\S+==\S+ ", (ROOT / "infra/image/requirements-build.lock").read_text(), re.MULTILINE)
    assert any(pin.startswith("hatchling==") for pin in pinned)
    assert [pin for pin in pinned if f"\n{pin}" not in elsewhere] == []


def test_only_what_the_build_needs_is_sent_to_it() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert let_in >= set(packages["packages"])
    assert {path for path in let_in if not (ROOT / path).exists()} == set()
    assert not let_in & {".", ".git", ".data", ".venv", "tests", "web", "infra"}


class _Answer(BaseHTTPRequestHandler):
    status = HTTPStatus.OK

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else HTTPStatus.NOT_FOUND)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that answers /healthz with the parametrised status."""
    with HTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"status": request.param})) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("answering", [HTTPStatus.OK], indirect=True)
def test_a_server_that_answers_is_alive_whatever_proxy_is_set(answering: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert lives(answering)


@pytest.mark.parametrize("answering", [HTTPStatus.SERVICE_UNAVAILABLE], indirect=True)
def test_a_server_that_answers_with_an_error_is_not_alive(answering: int) -> None:
    assert not lives(answering)


def test_a_server_that_does_not_listen_is_not_alive() -> None:
    assert not lives(free_port())


def test_compose_holds_every_part_and_each_says_when_it_is_well() -> None:
    assert SERVICES.keys() == {"server", "bucket", "postgres", "redis", "objects"}
    for name in ("postgres", "redis", "objects"):
        assert SERVICES[name]["healthcheck"]["test"], name
    assert {name: wait["condition"] for name, wait in SERVICES["server"]["depends_on"].items()} == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "bucket": "service_completed_successfully",
    }


def test_compose_publishes_ports_on_the_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    for port in published:
        address, _host, _container = port.split(":")
        assert ipaddress.ip_address(address).is_loopback, port


def test_compose_names_real_settings_only() -> None:
    named = {name for service in SERVICES.values() for name in service.get("environment", {}) if "COLLAB" in name}
    assert named
    assert named <= KNOWN_SETTINGS


def test_compose_runs_serve_on_production_parts_except_for_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["server"]["environment"].items():
        monkeypatch.setenv(name, resolved(value))
    settings = Settings(host="0.0.0.0")
    command, option = SERVICES["server"]["command"]
    assert command == "serve"
    assert [option] in [parameter.opts for parameter in COMMANDS[command].params]
    assert settings.problems() == []
    assert settings.embedded_parts() == ["COLLAB_AUTH=dev is for development."]
    assert len(settings.allowed_origins) == 2


def test_compose_gives_a_drain_the_time_it_may_take() -> None:
    grace_s = int(SERVICES["server"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_timeout_s"].default


def test_compose_keeps_the_root_read_only_and_storage_on_volumes() -> None:
    server = SERVICES["server"]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])} == set(
        COMPOSE["volumes"]
    )
    assert server["volumes"] == ["keys:/data"]
    assert SERVICES["objects"]["environment"]["S3_PERSIST"] == "1"


def test_compose_runs_the_s3_stand_in_that_the_tests_run() -> None:
    wanted = (ROOT / "tests/services/ministack.in").read_text()
    tag = SERVICES["objects"]["image"].rpartition(":")[2]
    assert f"ministack=={tag}\n" in wanted
