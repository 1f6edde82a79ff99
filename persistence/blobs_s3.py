"""Blobs in an S3 bucket: production's object store.

boto3 blocks, so every call runs on one of a few threads of its own. It must never hold credentials: they come from
boto3's usual chain or from a session its maker passes in. Assembled wherever a bucket is configured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from persistence.blobs import BlobExists, BlobMissing, BlobsUnavailable, check_key
from persistence.blobs_threads import StoreThreads

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 15.0  # between two bytes, not for the whole body
MAX_ATTEMPTS = 3  # including the first; the caller retries with its own, longer back-off
PAGE_KEYS = 1000  # the most S3 lists at once
MISSING = {"NoSuchKey", "404", "NotFound"}
# 412: the key is taken. 409 ConditionalRequestConflict: another conditional write is under way, so it soon will be.
TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict"}


class S3Blobs:
    """See `Blobs`. Wants s3:GetObject, PutObject, DeleteObject on the bucket's objects and ListBucket on the bucket."""

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        max_threads: int = 8,
        session: boto3.Session | None = None,
    ) -> None:
        """`endpoint_url` names an S3-compatible server; AWS when None. Makes no request."""
        self._bucket = bucket
        # Apart: when every upload hangs, who opens a document must not queue behind them.
        self._readers, self._writers = StoreThreads(max_threads), StoreThreads(max_threads)
        self._client: S3Client = (session or boto3.Session()).client(
            "s3",
            region_name=region,
            endpoint_url=endpoint_url,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
                max_pool_connections=2 * max_threads,
                # Stand-ins seldom resolve bucket.host; AWS itself wants virtual hosts.
                s3={"addressing_style": "virtual" if endpoint_url is None else "path"},
            ),
        )

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        await self._writers.run(self._put_new if only_if_absent else self._put, check_key(key), body)

    async def get(self, key: str) -> bytes:
        return await self._readers.run(self._get, check_key(key))

    async def delete(self, key: str) -> None:
        await self._writers.run(self._delete, check_key(key))

    async def list_keys(self, prefix: str, *, older_than_s: float = 0) -> list[str]:
        return await self._readers.run(self._list_keys, prefix, older_than_s)

    async def ping(self) -> None:
        await self._readers.run(self._ping)

    async def close(self) -> None:
        await self._readers.close()
        await self._writers.close()
        self._client.close()

    def _put(self, key: str, body: bytes) -> None:
        with _mapped():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def _put_new(self, key: str, body: bytes) -> None:
        try:
            with _mapped():
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
        except BlobExists:
            # An attempt whose answer was lost may have been ours: the bytes tell.
            if self._present(key) != body:
                raise

    def _present(self, key: str) -> bytes:
        try:
            return self._get(key)
        except BlobMissing as error:  # the other write has not finished, or the blob was deleted in between
            raise BlobsUnavailable("another write of this key is under way") from error

    def _get(self, key: str) -> bytes:
        with _mapped():
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def _delete(self, key: str) -> None:
        with _mapped():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _list_keys(self, prefix: str, older_than_s: float) -> list[str]:
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        with _mapped():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, PaginationConfig={"PageSize": PAGE_KEYS}
            )
            # S3 sorts by UTF-8 bytes, which is by code point; some compatible servers do not sort at all.
            return sorted(
                entry["Key"]
                for page in pages
                for entry in page.get("Contents", ())
                if not older_than_s or entry["LastModified"] < before
            )

    def _ping(self) -> None:
        with _mapped():
            self._client.head_bucket(Bucket=self._bucket)


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn boto3's errors into the port's. Only codes are passed on: messages may quote keys and account ids."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in MISSING and error.operation_name == "GetObject":
            raise BlobMissing from error
        if code in TAKEN:
            raise BlobExists from error
        raise BlobsUnavailable(f"{error.operation_name}: {code}") from error
    except (BotoCoreError, OSError) as error:
        raise BlobsUnavailable(type(error).__name__) from error
