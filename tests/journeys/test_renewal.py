"""A seat ends with its token unless its client brings a newer one (T06)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from collab_server.errors import Close
from collab_server.renewal import SOMEBODY_ELSE
from collab_server.wire.messages import Renew, Renewed
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.running import rows, running_server
from tests.services.server import ServerProcess
from tests.services.tokens import token

ENDS_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(postgres_of_major, tmp_path_factory, auth="dev") as server:
        yield server


def answers(client: Client) -> list[int]:
    return [message.ends_at for message in client.received if isinstance(message, Renewed)]


async def renewed(client: Client, newer: str) -> int:
    """Bring a token; when the seat ends then."""
    before = len(answers(client))
    await client.send(Renew(newer))
    await client.until(lambda: len(answers(client)) > before)
    return answers(client)[-1]


async def test_an_expired_seat_ends_within_seconds_and_a_renewed_one_goes_on(server: ServerProcess) -> None:
    began, lasts_s = time.time(), 3.0
    short = token(server, "ada", expires_s=lasts_s)
    async with (
        Client(server.websocket_url, "renewed", token=short) as ada,
        Client(server.websocket_url, "renewed", token=short) as left,
    ):
        assert await renewed(ada, token(server, "ada", expires_s=600)) == pytest.approx(began + 600, abs=5)
        code, _reason = await left.until_closed()
        assert code == Close.EXPIRED.code
        assert lasts_s - 1 < time.time() - began < lasts_s + ENDS_WITHIN_S
        await ada.type("still here")
        async with Client(server.websocket_url, "renewed", token=token(server, "bob")) as bob:
            await bob.until_text("still here")
        assert ada.denied == []


async def test_a_token_that_would_not_be_let_in_leaves_the_seat_as_it_was(server: ServerProcess) -> None:
    began = time.time()
    refused = {
        token(server, "eve", expires_s=3600): SOMEBODY_ELSE,
        token(server, "ada", document="elsewhere", expires_s=3600): Close.FORBIDDEN.text,
        token(server, "ada", expires_s=-3600): "the token was not accepted: token expired",
        token(server, "ada", expires_s=3600)[:-8] + "AAAAAAAA": "the token was not accepted: signature refused",
        "canary-of-nonsense": "the token was not accepted: token malformed",
    }
    async with Client(server.websocket_url, "kept", token=token(server, "ada", expires_s=900)) as ada:
        for newer, reason in refused.items():
            assert await renewed(ada, newer) == pytest.approx(began + 900, abs=5)
            assert ada.denied[-1] == reason
        await rows(server, "insert into token_revocations values ('ada', now() + interval '1 minute')")
        assert await renewed(ada, token(server, "ada")) == pytest.approx(began + 900, abs=5)
        await rows(server, "delete from token_revocations")
        assert ada.closed is None
        await ada.type("unharmed")
        async with Client(server.websocket_url, "kept", token=token(server, "bob")) as bob:
            await bob.until_text("unharmed")
    for newer in refused:
        assert newer not in server.output


async def test_a_newer_token_brings_the_role_it_carries(server: ServerProcess) -> None:
    async with (
        Client(server.websocket_url, "changed", token=token(server, "ada")) as ada,
        Client(server.websocket_url, "changed", token=token(server, "bob", role="editor")) as bob,
    ):
        await ada.type("text")
        await renewed(bob, token(server, "bob", role="viewer"))
        await bob.until(lambda: bob.denied == ["you may read this document but not edit it"])
        await bob.type("no")
        await renewed(bob, token(server, "bob", role="editor"))
        await ada.until(lambda: "no" in str(ada.text))


async def test_two_renewals_at_once_cost_the_seat(server: ServerProcess) -> None:
    async with Client(server.websocket_url, "hasty", token=token(server, "ada")) as ada:
        newer = token(server, "ada")
        await asyncio.gather(*(ada.send(Renew(newer)) for _ in range(20)))
        assert (await ada.until_closed())[0] == Close.TOO_FREQUENT.code
