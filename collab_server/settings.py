"""Every setting of the server: one frozen tree read once from the environment (prefix `COLLAB_`), units in the names.

The only reader of the environment. Nothing here opens, connects or checks anything beyond the values themselves.
docs/settings.md is compared with this module by a test. Called by `commands` and handed on by `assembly`.
"""

from __future__ import annotations

import os
from enum import Enum, StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024
SHORTEST_KEY = 32


class Auth(StrEnum):
    """How people are told apart: `cognito` in production, `dev` with local keys, `open` for local work."""

    OPEN = "open"
    DEV = "dev"
    COGNITO = "cognito"


class Settings(BaseSettings):
    """The effective settings. Raises `pydantic.ValidationError` on a value that cannot be meant."""

    model_config = SettingsConfigDict(env_prefix="COLLAB_", frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address all three ports listen on.")
    ws_port: int = Field(8081, ge=0, le=65535, description="WebSocket port; editors connect to `/ws/{document}`.")
    http_port: int = Field(8080, ge=0, le=65535, description="Port of the web page and the REST facade.")
    admin_port: int = Field(8082, ge=0, le=65535, description="Private port: health, metrics, rooms. Never expose it.")
    data_dir: Path = Field(Path(".data"), description="Where embedded parts keep their files.")

    database_url: SecretStr | None = Field(None, description="PostgreSQL; unset: an embedded server below `DATA_DIR`.")
    database_pool_size: PositiveInt = Field(10, description="Most connections to PostgreSQL.")
    redis_url: SecretStr | None = Field(None, description="Redis for fan-out between tasks; unset: in-process.")
    bus_key: SecretStr | None = Field(
        None,
        description="Signs bus messages between tasks (HMAC); of two, by comma, the second only verifies.",
    )
    s3_bucket: str | None = Field(None, description="Bucket for checkpoints; unset: a directory below `DATA_DIR`.")
    s3_endpoint_url: str | None = Field(None, description="Another S3 API than AWS's own.")
    s3_region: str = Field("us-east-1", description="Region of the bucket.")

    auth: Auth = Field(Auth.COGNITO, description="`cognito`, `dev` or `open`; `collab-server dev` uses `dev`.")
    jwt_issuer: str | None = Field(None, description="Cognito issuer: `https://cognito-idp.REGION.amazonaws.com/POOL`.")
    jwks_url: str | None = Field(None, description="Keys of the issuer; unset: `ISSUER/.well-known/jwks.json`.")
    jwt_client_ids: Annotated[tuple[str, ...], NoDecode] = Field((), description="App client ids let in, by comma.")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Web origins whose pages may connect, by comma, compared exactly; `dev` adds its own page."
    )

    internal_key: SecretStr | None = Field(
        None, description="Lets a facade fetch connection tickets from the admin port; unset: operators only."
    )
    rights_max_age_s: PositiveFloat = Field(
        30, description="Longest time a seat may rest on rights that have changed, should no word of it arrive."
    )
    max_message_bytes: PositiveInt = Field(
        32 * MIB, description="Largest message of a writer: a whole document may arrive."
    )
    max_reader_message_bytes: PositiveInt = Field(MIB, description="Largest message of one who may not write.")
    max_awareness_state_bytes: PositiveInt = Field(
        16 * 1024, description="Largest awareness state (cursor, name) of one client."
    )
    max_awareness_ids: PositiveInt = Field(4, description="Awareness client ids one connection may hold.")
    awareness_per_s: PositiveFloat = Field(
        50, description="New cursors a second of one connection; more are dropped. A mouse drag makes 30 to 60."
    )
    messages_per_s: PositiveFloat = Field(100, description="Messages a second one connection may send for long.")
    messages_burst: PositiveInt = Field(1_000, description="Messages it may send at once: an undo or a paste is many.")
    bytes_per_s: PositiveFloat = Field(2 * MIB, description="Bytes a second one connection may send for long.")
    bytes_burst: PositiveInt = Field(64 * MIB, description="Bytes it may send at once: two of the largest messages.")
    flood_cool_down_s: float = Field(
        10, ge=0, description="Time for which one closed for sending too much may not come back; 0: none."
    )
    message_timeout_s: PositiveFloat = Field(
        60, description="Time to finish a message once begun: 32 MiB take that long at 4.5 Mbit/s."
    )
    syncs_per_10_s: PositiveInt = Field(
        10, description="Sync requests one connection may make in 10 s: each costs an encode."
    )
    max_connections: PositiveInt = Field(20_000, description="Connections of this process.")
    max_connections_per_address: PositiveInt = Field(
        20_000, description="Connections from one address; behind a balancer that is the balancer's."
    )
    max_connections_per_user: PositiveInt = Field(200, description="Connections of one person (unlimited with `open`).")
    max_handshake_bytes: PositiveInt = Field(16 * 1024, description="Bytes read before a connection is admitted.")
    handshake_timeout_s: PositiveFloat = Field(10, description="Time to send the opening request.")
    open_timeout_s: PositiveFloat = Field(30, description="Time to check rights and load the document.")
    ping_interval_s: PositiveFloat = Field(
        16, description="Silence before a ping; keep below a balancer's idle limit (60 s)."
    )
    ping_timeout_s: PositiveFloat = Field(20, description="Further silence before a dead connection is dropped.")
    keepalive_s: PositiveFloat = Field(
        20, description="Quiet time before an empty message; stock clients leave after 30 s."
    )
    outbox_high_water_bytes: PositiveInt = Field(
        MIB, description="Unsent bytes at which a slow reader gets no more news until it has read them; then one diff."
    )
    outbox_stall_timeout_s: PositiveFloat = Field(
        120, description="Time a slow reader may take nothing of what is unsent before it is closed."
    )
    coalesce_max_ms: float = Field(
        25, ge=0, description="Most that gathering several updates into one frame may delay them in a busy room."
    )
    outbox_max_bytes: PositiveInt = Field(64 * MIB, description="Unsent bytes at which a slow reader is closed.")

    buffer_budget_bytes: PositiveInt = Field(
        512 * MIB, description="Unsent and unfinished bytes of all connections; beyond it the largest are closed."
    )

    max_rooms: PositiveInt = Field(
        10_000, description="Rooms in memory: 10 KiB each, and up to 20 times their document."
    )
    max_members_per_room: PositiveInt = Field(
        1_000, description="Members of a room in this task: each edit is written to each, at 6 µs."
    )
    warn_document_bytes: PositiveInt = Field(
        8 * MIB, description="Size of a document that is logged: it takes half a second to load."
    )
    max_document_bytes: PositiveInt = Field(
        32 * MIB, description="Size of a document that may only shrink; no more than one message should hold."
    )
    compare_every_s: PositiveFloat = Field(
        3, description="Time from a change of a room until tasks compare their copies of it, give or take a fifth."
    )
    room_grace_s: float = Field(
        30,
        ge=0,
        description="How long an empty room stays in memory, and up to a quarter longer; then it is checkpointed.",
    )
    checkpoint_after_updates: PositiveInt = Field(
        500, description="Journaled updates that make a checkpoint due; a quarter fewer in some rooms."
    )
    checkpoint_after_bytes: PositiveInt = Field(
        MIB, description="Journaled bytes that make a checkpoint due; a quarter fewer in some rooms."
    )
    checkpoint_after_s: PositiveFloat = Field(
        20, description="Seconds after its first new update that a room is checkpointed, give or take a quarter."
    )
    checkpoint_timeout_s: PositiveFloat = Field(60, description="Time the worker process has for one fold.")
    checkpoint_workers: PositiveInt = Field(1, description="Worker processes that fold documents.")
    checkpoint_worker_bytes: PositiveInt = Field(2048 * MIB, description="Address space of a worker process.")
    history_days: float = Field(
        30, ge=0, description="How long updates are kept once checkpoints hold them; 0: no longer than needed."
    )
    prune_every_s: PositiveFloat = Field(
        300, description="Time between two rounds of dropping old updates and checkpoints, give or take half."
    )
    big_update_bytes: PositiveInt = Field(
        64 * 1024, description="Size above which an update is checked in a worker process and applied in pieces."
    )
    big_document_workers: PositiveInt = Field(
        2, description="Worker processes that check big updates and split big documents."
    )
    journal_max_backlog_bytes: PositiveInt = Field(
        64 * MIB, description="Uncommitted bytes at which edits are refused."
    )
    quarantine_max_bytes: PositiveInt = Field(
        4 * MIB, description="Largest refused update that is kept whole; of a larger one digest and size are."
    )
    quarantine_max_rows: PositiveInt = Field(
        100, description="Refused updates kept of one person in one document; further ones are only counted."
    )
    quarantine_days: PositiveFloat = Field(30, description="How long a refused update is kept.")
    admin_answer_timeout_s: PositiveFloat = Field(
        1, description="Time other tasks have to answer an operator; who is silent is named in the answer."
    )
    watchdog_s: float = Field(
        10, ge=0, description="Silence of the event loop after which the process ends itself; 0: never."
    )
    drain_timeout_s: PositiveFloat = Field(
        100, le=120, description="Time to stop, whatever hangs; Fargate kills after 120 s."
    )
    drain_spread_s: float = Field(
        30, ge=0, description="Most time over which members are moved off; never above half of `DRAIN_TIMEOUT_S`."
    )

    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level that is logged.")
    log_format: str = Field(
        "json", pattern="^(json|console)$", description="`json` for machines, `console` for people."
    )

    @field_validator("jwt_client_ids", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def bus_keys(self) -> tuple[bytes, ...]:
        """The keys of the bus: the first signs, all verify."""
        keys = self.bus_key.get_secret_value().split(",") if self.bus_key is not None else []
        return tuple(key.strip().encode() for key in keys)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def problems(self) -> list[str]:
        """What contradicts itself in these settings, one sentence each; empty when all is well."""
        found = []
        if self.auth is Auth.OPEN and not self.is_loopback:
            found.append("COLLAB_AUTH=open makes everyone an editor, so COLLAB_HOST must be a loopback address.")
        if self.auth is Auth.COGNITO and not self.jwt_issuer:
            found.append("COLLAB_AUTH=cognito needs COLLAB_JWT_ISSUER.")
        if self.auth is Auth.COGNITO and not self.jwt_client_ids:
            found.append("COLLAB_AUTH=cognito needs COLLAB_JWT_CLIENT_IDS.")
        if not all(self.bus_keys) or len(self.bus_keys) > 2:
            found.append("COLLAB_BUS_KEY is one key, or two with a comma between them.")
        if self.internal_key is not None and len(self.internal_key.get_secret_value()) < SHORTEST_KEY:
            found.append(f"COLLAB_INTERNAL_KEY must have {SHORTEST_KEY} characters or more.")
        if self.warn_document_bytes > self.max_document_bytes:
            found.append("COLLAB_WARN_DOCUMENT_BYTES must not be above COLLAB_MAX_DOCUMENT_BYTES.")
        return found

    def embedded_parts(self) -> list[str]:
        """What is not fit for production in these settings, one sentence each."""
        found = []
        if self.database_url is None:
            found.append("COLLAB_DATABASE_URL is not set: the journal would live in an embedded PostgreSQL.")
        if self.redis_url is None:
            found.append("COLLAB_REDIS_URL is not set: tasks would not see each other's edits.")
        elif not self.bus_keys:
            found.append("COLLAB_BUS_KEY is not set: whoever reaches Redis could speak as a task.")
        if self.s3_bucket is None:
            found.append("COLLAB_S3_BUCKET is not set: checkpoints would live in a local directory.")
        if self.auth is not Auth.COGNITO:
            found.append(f"COLLAB_AUTH={self.auth.value} is for development.")
        return found


class DevelopmentSettings(Settings):
    """The same settings with the defaults of `collab-server dev`: local sign-in, logs for people."""

    auth: Auth = Auth.DEV
    log_level: str = Field("warning", pattern="^(debug|info|warning|error)$", description="Least level that is logged.")
    log_format: str = Field("console", pattern="^(json|console)$", description="`json` or `console`.")


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment for another process that shall have these settings: what was set, and of ours all other names."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("COLLAB_")}
    for name in settings.model_fields_set:
        match getattr(settings, name):
            case None:
                continue
            case SecretStr() as secret:
                value = secret.get_secret_value()
            case tuple() as several:
                value = ",".join(several)
            case Enum(value=value):
                pass
            case other:
                value = str(other)
        found[f"COLLAB_{name.upper()}"] = value
    return found
