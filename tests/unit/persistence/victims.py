"""What a sandbox has to survive: functions for its workers to run, each bad in its own way."""

import ctypes
import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pycrdt import Doc, Text


@dataclass(frozen=True, slots=True)
class Measured:
    pid: int
    size: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """Byte strings in all the places where large ones are sent apart."""

    whole: bytes
    parts: tuple[tuple[bytes, int], ...]


class Refused(Exception):
    """An error of this module, so its text may be told."""


def measure(body: bytes) -> Measured:
    return Measured(os.getpid(), len(body))


def cut(body: bytes, extras: list[bytes], sizes: dict[str, bytes]) -> Pieces:
    return Pieces(body, tuple((part, len(part)) for part in (*extras, *sizes.values())))


def echo(body: bytes) -> bytes:
    return body


def hang_in_native_code() -> bool:
    """Hold the interpreter for ages: no Python signal handler and no other thread gets to run."""
    return re.match(r"(a+)+$", "a" * 64 + "b") is not None


def hang_in_python() -> None:
    while True:
        pass


def eat_memory() -> int:
    return len([bytearray(1 << 24) for _ in range(1 << 12)])


def eat_memory_natively() -> bytes:
    """A state vector of five bytes that asks for a gigabyte."""
    return Doc().get_update(b"\x80\x80\x80\x80\x02")


def overflow_the_stack() -> None:
    """Arrays in arrays, deeper than the decoder's recursion can follow."""
    nested = b"\x75\x01" * 50_000 + b"\x7e"
    Doc().apply_update(b"\x01\x01\x05\x00\x08\x01\x03arr\x01" + nested + b"\x00")


def read_null() -> bytes:
    return ctypes.string_at(0)


def panic() -> None:
    """A struct range of no structs for a client the document knows."""
    document: Doc[Text] = Doc(client_id=1)
    document["content"] = Text("x")
    document.apply_update(b"\x01\x00\x01\x00\x00")


def leave() -> None:
    os._exit(3)


def refuse(text: str) -> None:
    raise Refused(text)


def stumble(content: str) -> None:
    raise ValueError(content)


def a_path() -> Path:
    """Something that is neither a plain value nor a dataclass of this module."""
    return Path("/")


def open_files() -> list[str]:
    """What the open descriptors lead to, e.g. `pipe:[1234]`."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one this listing uses
            links.append(str(entry.readlink()))
    return links


def environment_names() -> list[str]:
    return sorted(os.environ)


def session_and_interrupt() -> tuple[int, bool]:
    return os.getsid(0), signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def print_loudly(content: str) -> None:
    print(content, flush=True)
    print(content, file=sys.stderr, flush=True)
    os.write(1, content.encode())
