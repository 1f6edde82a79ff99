"""The S3 API on this machine, with one bucket: ministack, which needs a Python environment of its own.

What it is given stays in its folder over restarts. Called by `deployment`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import boto3

from cluster.programs import Guard, Program, ProgramFailed, free_port
from cluster.readiness import http_status

START_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.1
BUCKET, REGION = "collab-checkpoints", "us-east-1"
# It takes any pair; boto3 wants one.
CREDENTIALS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "local")


async def start_s3(python: Path, folder: Path, guard: Guard) -> tuple[Program, str]:
    """A running stand-in and its URL. `python` is the absolute path of its interpreter. Raises ProgramFailed."""
    port = free_port("127.0.0.1")
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "false",  # it would take a second, fixed port
        "MINISTACK_REGION": REGION,
        "S3_PERSIST": "1",  # checkpoints must live as long as the journal that was folded into them
        "S3_DATA_DIR": str(folder / "s3"),
        "STATE_DIR": str(folder / "state"),
        "LOG_LEVEL": "WARNING",
        **CREDENTIALS,
    }
    server = Program([python, "-m", "ministack"], environment, folder / "s3.log", guard)
    await server.start()
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while await http_status(port, "/_ministack/health") != 200:
                if server.pid is None:
                    raise ProgramFailed(f"the S3 stand-in does not start:\n{server.last_words()}")
                await asyncio.sleep(LOOK_EVERY_S)
        url = f"http://127.0.0.1:{port}"
        await asyncio.to_thread(_make_bucket, url)
    except BaseException:
        await server.stop()
        raise
    return server, url


def _make_bucket(url: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    s3.create_bucket(Bucket=BUCKET)  # in this region it may be there already
    s3.close()
