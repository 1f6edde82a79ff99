"""The worker process of `Sandbox`: reads a request, calls, answers, again and again until its input ends.

It must never outlive its server: an idle worker sees its input end, a busy one has an alarm set for the length of the
call, which the kernel delivers even while native code holds the interpreter. Started by `Sandbox` as
`python -m persistence.sandbox_worker MEMORY_BYTES MODULE...`, never by hand.
"""

import os
import pickle  # nosec B403
import resource
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

SIZE_BYTES = 8
RETURNED = b"="
RAISED = b"!"
PANICKED = 70  # exit status: native code panicked, and its memory may be in any state
MAX_DETAIL = 200
NICENESS = 5  # a fold may take a while; the server's event loop may not wait for it


def size_of(body: bytes) -> bytes:
    """What goes over the pipe before each message: its size, 8 bytes, big-endian."""
    return len(body).to_bytes(SIZE_BYTES, "big")


def main() -> None:
    memory_bytes, *modules = sys.argv[1:]
    for module in modules:
        import_module(module)
    requests, answers = _private_pipes()
    _limit(int(memory_bytes))
    _send(answers, RETURNED)
    while size := requests.read(SIZE_BYTES):
        request = requests.read(int.from_bytes(size, "big"))
        # Our own server's request; what comes back from here is not trusted as much, see `Sandbox`.
        timeout_s, function, args = pickle.loads(request)  # noqa: S301  # nosec B301
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


def _answer(function, args) -> bytes:  # type: ignore[no-untyped-def]  # whatever the parent pickled
    try:
        return RETURNED + pickle.dumps(function(*args), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        # Only errors of the called module are known not to quote content.
        detail = f": {error}" if type(error).__module__ == function.__module__ else ""
        return RAISED + (type(error).__name__ + detail).encode(errors="replace")[:MAX_DETAIL]
    except BaseException:  # pyo3's PanicException is one
        os._exit(PANICKED)


def _send(answers: BinaryIO, body: bytes) -> None:
    answers.write(size_of(body))
    answers.write(body)
    answers.flush()


if __name__ == "__main__":
    main()
