"""Large documents are joined whole. Sizes are of the text; the update is a little larger."""

import pytest

from tests.interop.conftest import Join

PAGE = ("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 1024)[: 64 * 1024]
"""65,536 characters, some of them two bytes: one large paste, well below any frame limit."""


async def test_a_one_megabyte_document_is_joined_whole(version: str, join: Join) -> None:
    alice = await join(version)
    await alice.ask("paste", text=PAGE, times=16)
    bob = await join(version)
    await bob.wait("length", length=16 * len(PAGE))
    written, joined = await alice.digest(), await bob.digest()
    assert joined["snapshot"] == written["snapshot"]
    assert joined["text_sha"] == written["text_sha"]
    await bob.ask("insert", at=0, text="and is edited: ")
    await alice.wait("length", length=16 * len(PAGE) + len("and is edited: "))


@pytest.mark.timeout(180)
async def test_a_twenty_megabyte_document_is_joined_whole(join: Join) -> None:
    alice = await join("3.1.0", patience_s=120)
    await alice.ask("paste", text=PAGE, times=320, to="start")
    witness = await join("3.1.0", patience_s=120)  # may come before the server has read it all
    await witness.wait("length", length=320 * len(PAGE))
    bob = await join("3.1.0", patience_s=120)  # gets all of it in its first sync
    written, joined = await alice.digest(), await bob.digest()
    assert joined["update_bytes"] > 20_000_000
    assert joined["snapshot"] == written["snapshot"]
    assert joined["text_sha"] == written["text_sha"]
    await bob.ask("insert", at=0, text="and is edited: ")
    await alice.wait("length", length=320 * len(PAGE) + len("and is edited: "))


async def test_twenty_thousand_separate_pieces_written_offline_are_joined_whole(join: Join) -> None:
    """Many small structs cost other things than few large ones; here they arrive in one SyncStep2."""
    alice = await join("3.1.0", connect=False)
    await alice.ask("paste", text="a short line 16\n", times=20_000, to="start")
    await alice.ask("connect")
    bob = await join("3.1.0")
    await bob.wait("length", length=320_000)
    assert (await bob.digest())["snapshot"] == (await alice.digest())["snapshot"]
