"""Starts a Python program again and again without its imports, which take longer than a whole round of a run.

    python -m chaos.launcher PRELOADED LOG PROGRAM ARGUMENT…

A process that has imported PRELOADED and nothing more; for each line on its standard input it forks one that runs
PROGRAM as `python -m` would, with its output in the file LOG. It answers with the process id, and `ended` with the exit
code. Started by `own_server`.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys


def main() -> None:
    """Serve the lines of standard input, one program at a time."""
    preloaded, log, *program = sys.argv[1:]
    importlib.import_module(preloaded)
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(log, program)
        _say(str(child))
        _child, status = os.waitpid(child, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _become(log: str, program: list[str]) -> None:
    """Run the program in place of this one, and end with it."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.argv = program
    runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    sys.exit(0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
