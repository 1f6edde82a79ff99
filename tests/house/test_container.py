"""The image and the compose file promise what the code keeps: ports, settings, user, health, and what stays private."""

from __future__ import annotations

import importlib.util
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
from urllib.parse import urlsplit

import pytest
import yaml
from typer.main import get_command

from cluster.balance import options
from collab_server.settings import Settings
from commands.cli import app
from infra.image.healthcheck import lives
from tests.services.server import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {name: service for name, service in SERVICES.items() if name.startswith("server-")}
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
    assert SERVICES.keys() - SERVERS.keys() == {"balancer", "bucket", "postgres", "redis", "objects"}
    assert len(SERVERS) == 3
    for name in ("balancer", "postgres", "redis", "objects"):
        assert SERVICES[name]["healthcheck"]["test"], name
    for server in SERVERS.values():
        assert {name: wait["condition"] for name, wait in server["depends_on"].items()} == {
            "postgres": "service_healthy",
            "redis": "service_healthy",
            "bucket": "service_completed_successfully",
        }


def test_compose_waits_only_for_services_there_are_and_that_can_be_well() -> None:
    for name, service in SERVICES.items():
        for wanted, wait in service.get("depends_on", {}).items():
            found = SERVICES[wanted]
            if wait["condition"] == "service_healthy":  # its own check, or the one that ships with our image
                assert "healthcheck" in found or "build" in found, (name, wanted)
            else:
                assert wait["condition"] == "service_completed_successfully", (name, wanted)
                assert "restart" not in found, (name, wanted)


def test_compose_balances_over_every_server_on_the_ports_they_listen_on() -> None:
    balancer = SERVICES["balancer"]
    python, _m, module, *words = balancer["entrypoint"]
    chosen = options(words)
    assert (python, importlib.util.find_spec(module) is not None) == ("python", True)
    assert set(chosen.host) == SERVERS.keys() == balancer["depends_on"].keys()
    defaults = {name: Settings.model_fields[name].default for name in ("ws_port", "admin_port")}
    assert {"ws_port": chosen.ws_port, "admin_port": chosen.admin_port} == defaults
    assert [port.split(":")[2] for port in balancer["ports"]] == [str(chosen.port)]


def test_compose_publishes_no_port_twice_and_of_a_server_the_admin_port_alone() -> None:
    published = [port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == len(set(published))
    for server in SERVERS.values():
        assert [port.split(":")[2] for port in server["ports"]] == [str(Settings.model_fields["admin_port"].default)]


def test_compose_gives_every_server_the_same_settings() -> None:
    first, *others = [server["environment"] for server in SERVERS.values()]
    assert all(other == first for other in others)
    hosts = {urlsplit(first[name]).hostname for name in ("COLLAB_DATABASE_URL", "COLLAB_REDIS_URL")}
    assert hosts | {urlsplit(first["COLLAB_S3_ENDPOINT_URL"]).hostname} <= SERVICES.keys()


def test_compose_names_images_as_the_hub_does_without_a_registry() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?(:[\w.]+)?", service["image"]), name


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
    server = SERVERS["server-1"]
    for name, value in server["environment"].items():
        monkeypatch.setenv(name, resolved(value))
    settings = Settings(host="0.0.0.0")
    command, option = server["command"]
    assert command == "serve"
    assert [option] in [parameter.opts for parameter in COMMANDS[command].params]
    assert settings.problems() == []
    assert settings.embedded_parts() == ["COLLAB_AUTH=dev is for development."]
    assert len(settings.allowed_origins) == 2


def test_compose_gives_a_drain_the_time_it_may_take() -> None:
    for server in SERVERS.values():
        grace_s = int(server["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings.model_fields["drain_timeout_s"].default


def test_compose_keeps_the_root_read_only_and_storage_on_volumes() -> None:
    for own in (*SERVERS.values(), SERVICES["balancer"], SERVICES["bucket"]):
        assert own["read_only"] is True
        assert own["cap_drop"] == ["ALL"]
    assert {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])} == set(
        COMPOSE["volumes"]
    )
    assert all(server["volumes"] == ["keys:/data"] for server in SERVERS.values())
    assert SERVICES["objects"]["environment"]["S3_PERSIST"] == "1"


def test_compose_runs_the_s3_stand_in_that_the_tests_run() -> None:
    wanted = (ROOT / "tests/services/ministack.in").read_text()
    tag = SERVICES["objects"]["image"].rpartition(":")[2]
    assert f"ministack=={tag}\n" in wanted
