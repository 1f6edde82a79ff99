"""The smallest Python client: join a room with pycrdt-websocket, append a text, print the whole document.

    python loadtests/client.py ws://127.0.0.1:8081/ws/demo --token T --text hello

It shows that the server needs no client of ours, and is imported by load tests and interop tests. Leaving the room
means that the edit was handed to the server in order; whether it is durable is the server's to say.
"""

import argparse
import asyncio

from httpx_ws import aconnect_ws
from pycrdt import Doc, Provider, Text
from pycrdt.websocket.websocket import HttpxWebsocket

LARGEST_FRAME_BYTES = 64 * 1024 * 1024  # the first sync brings a whole document in one frame
DEADLINE_S = 30.0


class Socket(HttpxWebsocket):
    async def __anext__(self) -> bytes:
        return bytes(await self.recv())  # a refusal must be heard, not end the stream in silence


async def edit(url: str, text: str, *, token: str | None = None, until: str = "") -> str:
    """Append `text` to the room's Y.Text("content"), wait until it contains `until`, and return all of it.

    `url` names the room: ws://HOST:PORT/ws/{document}. Where the server refuses, raises WebSocketUpgradeError, or a
    group with WebSocketDisconnect (both of httpx_ws); TimeoutError where the document or `until` does not come.
    """
    doc: Doc[Text] = Doc()
    content = doc.get("content", type=Text)
    changed = asyncio.Event()
    content.observe(lambda _: changed.set())
    params = {} if token is None else {"token": token}
    async with (
        asyncio.timeout(DEADLINE_S),
        aconnect_ws(url, params=params, max_message_size_bytes=LARGEST_FRAME_BYTES) as socket,  # type: ignore[var-annotated]
        Provider(doc, Socket(socket, url)) as provider,
    ):
        await provider.synced.wait()
        content += text
        while until not in str(content):
            changed.clear()
            await changed.wait()
    return str(content)


def main() -> None:
    options = argparse.ArgumentParser(description="Append a text to a room and print the document.")
    options.add_argument("url", help="ws://HOST:PORT/ws/{document}")
    options.add_argument("--token", help="a JWT; needed unless the server runs in open mode")
    options.add_argument("--text", default="hello", help="what to append")
    options.add_argument("--until", default="", help="stay until the document contains this")
    chosen = options.parse_args()
    print(asyncio.run(edit(chosen.url, chosen.text, token=chosen.token, until=chosen.until)))


if __name__ == "__main__":
    main()
