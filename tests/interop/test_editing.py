"""Stock clients of every supported release edit one room and end with the same document."""

import asyncio
from typing import Any

from tests.interop.conftest import Join
from tests.services.node import VERSIONS, converged

FAMILY = "\U0001f469‍\U0001f469‍\U0001f467"  # one visible character, eight UTF-16 units
HEBREW = "שלום עולם"


async def test_two_clients_typing_at_the_same_place_converge_without_mixing_their_words(
    version: str, join: Join
) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    await alice.ask("insert", at=0, text="[]")
    await bob.sees_text("[]")
    await asyncio.gather(
        alice.ask("type", at=1, text="the quick brown fox"), bob.ask("type", at=1, text="jumps over the lazy dog")
    )
    text = (await converged([alice, bob]))["text"]
    assert text in {
        "[the quick brown foxjumps over the lazy dog]",
        "[jumps over the lazy dogthe quick brown fox]",
    }


async def test_clients_of_every_release_share_one_room(join: Join) -> None:
    clients = await asyncio.gather(*(join(version) for version in VERSIONS))
    await asyncio.gather(
        *(client.ask("type", at=0, text=f"<{v}>") for client, v in zip(clients, VERSIONS, strict=True))
    )
    state = await converged(clients)
    assert all(f"<{version}>" in state["text"] for version in VERSIONS)


async def test_a_client_that_joins_later_gets_everything(version: str, join: Join) -> None:
    alice = await join(version)
    await alice.ask("insert", at=0, text="written before")
    await alice.ask("delete", at=0, length=len("written "))
    bob = await join(version)
    await bob.sees_text("before")
    await converged([alice, bob])


async def test_edits_made_offline_on_both_sides_are_merged_on_rejoining(version: str, join: Join) -> None:
    alice, bob, carol = await asyncio.gather(*(join(version) for _ in range(3)))
    await alice.ask("insert", at=0, text="shared")
    await asyncio.gather(bob.sees_text("shared"), carol.sees_text("shared"))
    for client in (alice, bob):
        await client.ask("disconnect")
        await client.wait("disconnected")

    await alice.ask("insert", at=6, text=" and alice's")
    await alice.ask("map_set", key="by", value="alice")
    await bob.ask("delete", at=0, length=2)
    await bob.ask("insert", at=0, text="bob's ")
    await carol.ask("array_insert", at=0, values=["carol stayed"])

    for client in (alice, bob):
        await client.ask("connect")
    await asyncio.gather(*(client.sees_text("bob's ared and alice's") for client in (alice, bob, carol)))
    state = await converged([alice, bob, carol])
    assert (state["map"], state["array"]) == ({"by": "alice"}, ["carol stayed"])


async def test_a_document_first_written_offline_reaches_the_room(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version, connect=False), join(version))
    await alice.ask("insert", at=0, text="begun on a train")
    await alice.ask("connect")
    await bob.sees_text("begun on a train")
    await converged([alice, bob])


async def test_emoji_right_to_left_and_combining_text_survive(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    text = f"{FAMILY} naïve \u202b{HEBREW}\u202c e\u0301 \U0001d4d0 日本語\r\n\t\0"
    await alice.ask("insert", at=0, text=text)
    await bob.sees_text(text)
    await bob.ask("type", at=len(text.encode("utf-16-le")) // 2, text=f" {FAMILY}{HEBREW}")
    await alice.sees_text(f"{text} {FAMILY}{HEBREW}")
    await converged([alice, bob])


async def test_one_who_cuts_an_emoji_in_half_is_closed_and_nobody_else_notices(version: str, join: Join) -> None:
    alice, bob, carol = await asyncio.gather(join(version), join(version), join(version))
    await alice.ask("insert", at=0, text="a\U0001f600b")
    await bob.sees_text("a\U0001f600b")
    await bob.ask("delete", at=2, length=1)  # the second of its two UTF-16 units
    await bob.wait("event", name="connection-close", since=0)
    assert (await bob.events("connection-close"))[0]["code"] == 4409
    await alice.ask("type", at=4, text="!")
    await carol.sees_text("a\U0001f600b!")
    dave = await join(version)
    await converged([alice, carol, dave])


async def test_formats_and_embeds_converge(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    await alice.ask("insert", at=0, text="plain bold link")
    await bob.sees_text("plain bold link")
    await asyncio.gather(
        alice.ask("format", at=6, length=4, attributes={"bold": True}),
        bob.ask("format", at=8, length=7, attributes={"link": {"href": "https://example.org/ü"}}),
    )
    await alice.ask("embed", at=0, value={"image": "a.png", "width": 3.5})
    state = await converged([alice, bob])
    link = {"href": "https://example.org/ü"}
    assert state["delta"] == [
        {"insert": {"image": "a.png", "width": 3.5}},
        {"insert": "plain "},
        {"insert": "bo", "attributes": {"bold": True}},
        {"insert": "ld", "attributes": {"bold": True, "link": link}},
        {"insert": " link", "attributes": {"link": link}},
    ]


async def test_maps_and_arrays_carry_every_kind_of_value(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    values: list[Any] = [
        None,
        True,
        False,
        0,
        -1,
        2**31,
        -(2**53) + 1,
        1.5,
        1e300,
        "",
        FAMILY,
        [1, [2]],
        {"k": {"ü": []}},
    ]
    await alice.ask("array_insert", at=0, values=values)
    await bob.ask("map_set", key=f"schlüssel {FAMILY}", value={"bytes": "AAH/"})
    await bob.ask("map_set", key="nested", value={"map": {"list": {"array": [1, {"map": {"deep": True}}]}}})
    await alice.ask("map_set", key="gone", value=1)
    await alice.ask("map_delete", key="gone")
    await alice.ask("array_delete", at=0, length=1)
    state = await converged([alice, bob])
    assert state["array"] == values[1:]
    assert state["map"] == {f"schlüssel {FAMILY}": {"bytes": "AAH/"}, "nested": {"list": [1, {"deep": True}]}}


async def test_two_clients_setting_one_key_agree_on_one_value(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    await asyncio.gather(
        *(alice.ask("map_set", key="title", value=f"alice {n}") for n in range(10)),
        *(bob.ask("map_set", key="title", value=f"bob {n}") for n in range(10)),
    )
    assert (await converged([alice, bob]))["map"]["title"] in {"alice 9", "bob 9"}


async def test_xml_elements_attributes_and_text_converge(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    await alice.ask("xml_insert", at=0, name="heading", attributes={"level": "1"}, text=f"Ouvertüre {FAMILY}")
    await bob.ask("xml_insert", at=0, name="paragraph", text="<not> & escaped")
    await converged([alice, bob])
    await asyncio.gather(
        alice.ask("xml_attribute", at=0, key="lang", value="he"),
        bob.ask("xml_attribute", at=1, key="id", value=HEBREW),
    )
    xml = (await converged([alice, bob]))["xml"]
    assert all(part in xml for part in ("<heading", 'level="1"', f'id="{HEBREW}"', FAMILY, "<paragraph", 'lang="he"'))


async def test_undo_takes_back_only_ones_own_edits(version: str, join: Join) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    await alice.ask("insert", at=0, text="alice ")
    await bob.sees_text("alice ")
    await bob.ask("insert", at=6, text="bob")
    await alice.sees_text("alice bob")
    assert await alice.ask("undo")
    await bob.sees_text("bob")
    assert not await alice.ask("undo")
    assert await alice.ask("redo")
    await bob.sees_text("alice bob")
    await converged([alice, bob])
