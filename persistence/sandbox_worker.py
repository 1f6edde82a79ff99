"""The worker process of `Sandbox`: reads a request, calls, answers, again and again until its input ends.

It must never outlive its server: an idle worker sees its input end, a busy one has an alarm set for the length of the
call, which the kernel delivers even while native code holds the interpreter. Started by `Sandbox` as
`python -m persistence.sandbox_worker MEMORY_BYTES MODULE...`, never by hand.
"""

import io
import os
import pickle  # nosec B403
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

SIZE_BYTES = 8
RETURNED = b"="
RAISED = b"!"
PANICKED = 70  # exit status: native code panicked, and its memory may be in any state
MAX_DETAIL = 200
LARGE_BYTES = 16 * 1024
_LOOKED_INTO = frozenset({bytes, list, tuple, dict})

Parts = list[bytes]
"""A message: a pickle, and the large byte strings that stand beside it."""

NICENESS = 5  # a fold may take a while; the server's event loop may not wait for it


def size_of_parts(parts: Parts) -> bytes:
    """What goes over the pipe before each message: how many parts it has and their sizes, 8 bytes each, big-endian."""
    return b"".join(number.to_bytes(SIZE_BYTES, "big") for number in (len(parts), *map(len, parts)))


def pickled(value: object, head: bytes = b"") -> Parts:
    """`value` as a pickle after `head`, and then the large byte strings in it as they are, without a copy."""
    stream = io.BytesIO()
    large: list[pickle.PickleBuffer] = []
    stream.write(head)
    _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=large.append).dump(_lifted(value))
    return [stream.getvalue(), *(cast(bytes, buffer.raw().obj) for buffer in large)]


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        """Look for large byte strings in dataclasses too."""
        if not is_dataclass(value) or isinstance(value, type):
            return NotImplemented
        make, arguments, fields, *rest = cast("tuple[Any, ...]", value.__reduce_ex__(pickle.HIGHEST_PROTOCOL))
        return make, arguments, _lifted(fields), *rest


def _lifted(value: Any) -> Any:
    """`value` with its large byte strings marked to go beside the pickle; looks into plain lists, tuples, dicts."""
    kind = type(value)
    if kind is bytes:
        return pickle.PickleBuffer(value) if len(value) >= LARGE_BYTES else value
    if kind is list or kind is tuple:
        return kind(map(_lifted, value)) if any(type(part) in _LOOKED_INTO for part in value) else value
    if kind is dict:
        return {key: _lifted(part) for key, part in value.items()}
    return value


def main() -> None:
    memory_bytes, *modules = sys.argv[1:]
    for module in modules:
        import_module(module)
    requests, answers = _private_pipes()
    _limit(int(memory_bytes))
    _send(answers, [RETURNED])
    while count := requests.read(SIZE_BYTES):
        sizes = [int.from_bytes(requests.read(SIZE_BYTES), "big") for _ in range(int.from_bytes(count, "big"))]
        request, *large = [requests.read(size) for size in sizes]
        # Our own server's request; what comes back from here is not trusted as much, see `Sandbox`.
        timeout_s, function, args = pickle.loads(request, buffers=large)  # noqa: S301  # nosec B301
        del request, large
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        answer = _answer(function, args)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, answer)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take the pipes away from stdin, stdout and stderr: what native code prints there may quote content."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    return requests, answers


def _limit(memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, and needs no Python to run
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold document content
    if sys.platform == "linux":  # elsewhere the limit is refused or has no effect
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        with suppress(OSError):  # if the machine runs out of memory, the kernel shall take this process first
            Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(NICENESS)


def _answer(function, args) -> Parts:  # type: ignore[no-untyped-def]  # whatever the parent pickled
    try:
        return pickled(function(*args), RETURNED)
    except Exception as error:
        # Only errors of the called module are known not to quote content.
        detail = f": {error}" if type(error).__module__ == function.__module__ else ""
        return [RAISED + (type(error).__name__ + detail).encode(errors="replace")[:MAX_DETAIL]]
    except BaseException:  # pyo3's PanicException is one
        os._exit(PANICKED)


def _send(answers: BinaryIO, parts: Parts) -> None:
    answers.write(size_of_parts(parts))
    for part in parts:
        answers.write(part)
    answers.flush()


if __name__ == "__main__":
    main()
