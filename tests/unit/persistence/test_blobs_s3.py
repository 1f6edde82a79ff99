"""Facts about S3 when the network or the account is not as it should be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import boto3
import pytest

from persistence import blobs_s3
from persistence.blobs import BlobExists, BlobMissing, BlobsUnavailable
from persistence.blobs_s3 import S3Blobs
from tests.services.ministack import Ministack
from tests.services.server import free_port


@asynccontextmanager
async def opened(
    server: Ministack, bucket: str, *, endpoint_url: str | None = None, session: boto3.Session | None = None
) -> AsyncIterator[S3Blobs]:
    blobs = S3Blobs(
        bucket,
        endpoint_url=endpoint_url or server.endpoint_url,
        region=server.region,
        session=session or server.session,
    )
    try:
        yield blobs
    finally:
        await blobs.close()


class AnswersLost:
    """A proxy in front of the server that cuts the connection where the answer to each of the first requests begins."""

    def __init__(self, port: int, losses: int) -> None:
        self._port = port
        self._serving: set[asyncio.Task[None] | None] = set()
        self.losses = losses
        self.url = ""

    async def __aenter__(self) -> "AnswersLost":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """The clients are closed by now, so every connection comes to its end."""
        self._server.close()
        await asyncio.gather(*(task for task in self._serving if task), return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = {
            asyncio.create_task(self._ask(reader, upstream_writer)),
            asyncio.create_task(self._answer(upstream_reader, writer)),
        }
        _, open_ways = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in open_ways:
            way.cancel()
        for each in (writer, upstream_writer):
            each.close()
        await asyncio.gather(*ways, writer.wait_closed(), upstream_writer.wait_closed(), return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answer := await reader.read(65_536):
            if answer.startswith(b"HTTP/1.1 200") and self.losses > 0:
                self.losses -= 1
                return
            writer.write(answer)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65_536):
            writer.write(request)


async def test_a_put_whose_answer_was_lost_succeeds(ministack: Ministack, s3_bucket: str) -> None:
    """boto3 asks again and is told that the key is taken: by itself."""
    async with (
        AnswersLost(ministack.port, losses=1) as proxy,
        opened(ministack, s3_bucket, endpoint_url=proxy.url) as blobs,
    ):
        await blobs.put("k", b"body", only_if_absent=True)
        assert proxy.losses == 0
        assert await blobs.get("k") == b"body"


async def test_a_put_whose_answer_was_lost_does_not_hide_another_writer(ministack: Ministack, s3_bucket: str) -> None:
    async with (
        AnswersLost(ministack.port, losses=0) as proxy,
        opened(ministack, s3_bucket, endpoint_url=proxy.url) as blobs,
    ):
        await blobs.put("k", b"theirs")
        with pytest.raises(BlobExists):
            await blobs.put("k", b"ours", only_if_absent=True)


async def test_answers_that_are_always_lost_end_after_a_few_attempts(ministack: Ministack, s3_bucket: str) -> None:
    async with (
        AnswersLost(ministack.port, losses=1000) as proxy,
        opened(ministack, s3_bucket, endpoint_url=proxy.url) as blobs,
    ):
        with pytest.raises(BlobsUnavailable):
            await blobs.put("k", b"body")
        assert proxy.losses == 1000 - blobs_s3.MAX_ATTEMPTS


async def test_a_server_that_is_not_there_is_unavailable(ministack: Ministack, s3_bucket: str) -> None:
    async with opened(ministack, s3_bucket, endpoint_url=f"http://127.0.0.1:{free_port()}") as blobs:
        for call in (blobs.ping(), blobs.get("k"), blobs.put("k", b""), blobs.delete("k"), blobs.list_keys("")):
            with pytest.raises(BlobsUnavailable):
                await call


async def test_a_missing_bucket_is_not_a_missing_blob(ministack: Ministack) -> None:
    """A load takes a missing blob for a lost one and falls back; a wrong bucket name must not look like that."""
    async with opened(ministack, "no-such-bucket-anywhere") as blobs:
        with pytest.raises(BlobsUnavailable, match="GetObject: NoSuchBucket"):
            await blobs.get("k")
        with pytest.raises(BlobsUnavailable):
            await blobs.ping()


async def test_an_unknown_access_key_is_unavailable_and_named_nowhere(ministack: Ministack, s3_bucket: str) -> None:
    stranger = boto3.Session(aws_access_key_id="AKIASTRANGER", aws_secret_access_key="canary-secret")
    async with opened(ministack, s3_bucket, session=stranger) as blobs:
        with pytest.raises(BlobsUnavailable) as refused:
            await blobs.get("k")
    assert "AKIASTRANGER" not in str(refused.value)
    assert "canary" not in str(refused.value)


async def test_a_blob_deleted_by_someone_else_is_missing(ministack: Ministack, s3_bucket: str) -> None:
    async with opened(ministack, s3_bucket) as blobs:
        await blobs.put("k", b"x")
        ministack.s3.delete_object(Bucket=s3_bucket, Key="k")
        with pytest.raises(BlobMissing):
            await blobs.get("k")


async def test_more_than_a_page_of_keys_is_listed(
    ministack: Ministack, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_s3, "PAGE_KEYS", 3)
    keys = [f"crdt/{number:02d}" for number in range(10)]
    async with opened(ministack, s3_bucket) as blobs:
        await asyncio.gather(*(blobs.put(key, b"") for key in keys))
        assert await blobs.list_keys("crdt/") == keys
