"""Who is here: stock clients see each other's names and cursors come, change and go.

The names are those of the tokens: what a client claims about itself is not shown (R041).
"""

import asyncio

from tests.interop.conftest import SignIn
from tests.services.node import VERSIONS

ZOE = "Zoë \U0001f98a"
YOSSI = "יוסי"
LI = "李小龍"


async def test_clients_see_each_other_by_their_non_ascii_names(version: str, sign_in: SignIn) -> None:
    zoe, yossi = await asyncio.gather(sign_in(version, ZOE), sign_in(version, YOSSI))
    await asyncio.gather(zoe.sees_peers(YOSSI), yossi.sees_peers(ZOE))
    li = await sign_in(version, LI)  # learns of those who came before
    await asyncio.gather(li.sees_peers(ZOE, YOSSI), zoe.sees_peers(YOSSI, LI), yossi.sees_peers(ZOE, LI))


async def test_clients_of_every_release_see_each_other(sign_in: SignIn) -> None:
    clients = await asyncio.gather(*(sign_in(version, version) for version in VERSIONS))
    for client, own in zip(clients, VERSIONS, strict=True):
        await client.sees_peers(*(version for version in VERSIONS if version != own))


async def test_a_moved_cursor_reaches_the_others(version: str, sign_in: SignIn) -> None:
    alice, bob = await asyncio.gather(sign_in(version, "alice"), sign_in(version, "bob"))
    cursor = {"anchor": {"tname": "content"}, "head": {"tname": "content"}}
    await alice.ask("awareness", state={"user": {"name": "alice"}, "cursor": cursor})
    await bob.wait("peer_field", field="cursor", value=cursor)


async def test_a_client_that_leaves_is_gone_for_the_others(version: str, sign_in: SignIn) -> None:
    alice, bob = await asyncio.gather(sign_in(version, "alice"), sign_in(version, "bob"))
    await bob.sees_peers("alice")
    await alice.ask("leave")
    await bob.sees_peers()


async def test_a_client_that_dies_without_a_word_is_gone_for_the_others(version: str, sign_in: SignIn) -> None:
    alice, bob = await asyncio.gather(sign_in(version, "alice"), sign_in(version, "bob"))
    await bob.sees_peers("alice")
    await alice.kill()
    await bob.sees_peers()


async def test_a_client_that_went_offline_is_seen_again_when_it_returns(version: str, sign_in: SignIn) -> None:
    alice, bob = await asyncio.gather(sign_in(version, "alice"), sign_in(version, "bob"))
    await bob.sees_peers("alice")
    await alice.ask("disconnect")
    await bob.sees_peers()
    await alice.ask("connect")
    # Without the server's help: when it renews its state, 15 s later. It sees bob when bob moves or renews.
    await bob.wait("peers", names=["alice"], patience_s=8)
