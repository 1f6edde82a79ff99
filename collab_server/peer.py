"""What is to know and to set about a socket before its first byte. Never waits. Called by `connection`."""

from __future__ import annotations

import asyncio
import socket

GONE_ADDRESS = "0.0.0.0"  # noqa: S104  # nosec B104
"""Stands for a peer that hung up before we looked."""


def prepare(transport: asyncio.Transport, high_water_bytes: int) -> str:
    """Send small frames at once and tell when more than `high_water_bytes` are unsent; the peer's address."""
    peer = transport.get_extra_info("peername")
    connected: socket.socket = transport.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.set_write_buffer_limits(high=high_water_bytes)
    return str(peer[0]) if peer else GONE_ADDRESS
