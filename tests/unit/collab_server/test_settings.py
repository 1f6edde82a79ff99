"""Settings: read once, from the environment alone, frozen, and able to say what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from collab_server.settings import Auth, DevelopmentSettings, Settings, environment_for

COGNITO = {"jwt_issuer": "https://issuer.example", "jwt_client_ids": ("app",)}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("COLLAB_")]:
        monkeypatch.delenv(name)


def test_values_come_from_the_environment_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_WS_PORT", "9001")
    monkeypatch.setenv("ADMIN_PORT", "9002")
    monkeypatch.setenv("COLLAB_DATA_DIR", "/somewhere")
    monkeypatch.setenv("COLLAB_NO_SUCH_SETTING", "ignored")
    settings = Settings()
    assert (settings.ws_port, settings.admin_port, settings.data_dir) == (9001, 8082, Path("/somewhere"))


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_WS_PORT", "")
    monkeypatch.setenv("COLLAB_REDIS_URL", "")
    assert Settings().ws_port == 8081
    assert Settings().redis_url is None


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.ws_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", ()),
        ("https://a.example", ("https://a.example",)),
        (" https://a.example , https://b.example,", ("https://a.example", "https://b.example")),
        (",,", ()),
    ],
)
def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch, written: str, read: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLLAB_ALLOWED_ORIGINS", written)
    monkeypatch.setenv("COLLAB_JWT_CLIENT_IDS", written)
    assert Settings().allowed_origins == read
    assert Settings().jwt_client_ids == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WS_PORT", "65536"),
        ("WS_PORT", "-1"),
        ("WS_PORT", "http"),
        ("MAX_MESSAGE_BYTES", "0"),
        ("MESSAGES_PER_S", "0"),
        ("ROOM_GRACE_S", "-1"),
        ("AUTH", "none"),
        ("LOG_LEVEL", "trace"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"COLLAB_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_an_internal_key_that_could_be_guessed_is_a_problem() -> None:
    for key, problems in (("", []), ("hunter2", ["COLLAB_INTERNAL_KEY must have 32 characters or more."])):
        settings = Settings(auth="open", internal_key=key or None)
        assert [problem for problem in settings.problems() if "INTERNAL" in problem] == problems


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = Settings(
        database_url="postgresql://someone:hunter2@db/x", redis_url="redis://:hunter2@r", bus_key="hunter2"
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
    assert settings.database_url is not None
    assert "hunter2" in settings.database_url.get_secret_value()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_a_loopback_address_is_told_from_others(host: str, loopback: bool) -> None:
    assert Settings(host=host).is_loopback is loopback


def test_open_access_to_others_than_this_machine_is_a_problem() -> None:
    assert Settings(auth=Auth.OPEN).problems() == []
    (problem,) = Settings(auth=Auth.OPEN, host="0.0.0.0").problems()
    assert "COLLAB_AUTH=open" in problem
    assert "COLLAB_HOST" in problem


def test_cognito_without_issuer_or_clients_is_a_problem() -> None:
    assert Settings(**COGNITO).problems() == []
    assert [p.split()[-1].rstrip(".") for p in Settings().problems()] == ["COLLAB_JWT_ISSUER", "COLLAB_JWT_CLIENT_IDS"]
    assert len(Settings(**{**COGNITO, "jwt_client_ids": ()}).problems()) == 1


def test_development_sign_in_is_no_problem_in_itself() -> None:
    assert Settings(auth=Auth.DEV, host="0.0.0.0").problems() == []


def test_every_part_that_is_not_for_production_is_named() -> None:
    ready = {**COGNITO, "database_url": "postgresql://db", "redis_url": "redis://r", "bus_key": "k", "s3_bucket": "b"}
    assert Settings(**ready).embedded_parts() == []
    for name in ("database_url", "redis_url", "bus_key", "s3_bucket"):
        (found,) = Settings(**{**ready, name: None}).embedded_parts()
        assert f"COLLAB_{name.upper()}" in found
    for auth in (Auth.DEV, Auth.OPEN):
        assert Settings(**{**ready, "auth": auth}).embedded_parts() == [f"COLLAB_AUTH={auth} is for development."]


def test_development_has_local_sign_in_and_logs_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DevelopmentSettings()
    assert (settings.auth, settings.log_format) == (Auth.DEV, "console")
    assert settings.problems() == []
    monkeypatch.setenv("COLLAB_AUTH", "open")
    assert DevelopmentSettings().auth is Auth.OPEN
    assert DevelopmentSettings.model_fields.keys() == Settings.model_fields.keys()


def test_a_soft_bound_above_the_hard_one_is_a_problem() -> None:
    (problem,) = Settings(**COGNITO, warn_document_bytes=2, max_document_bytes=1).problems()
    assert "COLLAB_WARN_DOCUMENT_BYTES" in problem
    assert Settings(**COGNITO, warn_document_bytes=1, max_document_bytes=1).problems() == []


def test_another_process_can_be_given_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_NOT_A_SETTING", "kept from it")
    monkeypatch.setenv("COLLAB_ALLOWED_ORIGINS", "http://one.example, http://two.example")
    monkeypatch.setenv("COLLAB_AUTH", "open")
    monkeypatch.setenv("SOMETHING_ELSE", "handed on")
    given = Settings().model_copy(update={"bus_key": SecretStr("of this cluster"), "room_grace_s": 5, "jwks_url": None})
    found = environment_for(given)
    assert {name for name in found if name.startswith("COLLAB_")} == {
        "COLLAB_ALLOWED_ORIGINS",
        "COLLAB_AUTH",
        "COLLAB_BUS_KEY",
        "COLLAB_ROOM_GRACE_S",
    }
    assert found["SOMETHING_ELSE"] == "handed on"
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    again = Settings()
    assert (again.allowed_origins, again.auth, again.room_grace_s) == (given.allowed_origins, Auth.OPEN, 5)
    assert again.bus_key is not None
    assert again.bus_key.get_secret_value() == "of this cluster"
