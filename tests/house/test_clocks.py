"""The clock on the wall jumps: only the times in tokens and the age of what is stored may depend on it (F10)."""

from __future__ import annotations

import ast

from tests.house.test_structure import MODULES, ROOT

WALL_CLOCKS = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "gmtime"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}
ALLOWED = {
    "collab_server/server.py": "a token's end",
    "collab_server/admin.py": "a token's end",
    "collab_server/attendance.py": "since when somebody is here, as people are told",
    "collab_server/rights_admin.py": "before when tokens are void",
    "collab_server/rights_tickets.py": "a ticket's end",
    "commands/token.py": "a token's end",
    "rest_api/sign_in.py": "a token's end",
    "persistence/quarantine_memory.py": "how long a row is kept",
    "persistence/blobs_directory.py": "the age of a file that a killed process left",
    "collab_server/pruning.py": "the age of history, in days",
    "persistence/journal_memory.py": "the age of a row, in days",
    "persistence/audit_memory.py": "when an operator did what",
    "persistence/blobs_s3.py": "the age of an object that no generation names: a day",
    "persistence/blobs_memory.py": "the age of an object that no generation names: a day",
}


def looks_at_the_wall(source: str) -> bool:
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    names = {(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)}
    return bool(names & WALL_CLOCKS) or "from time import" in source


def test_nothing_but_tokens_and_the_age_of_what_is_stored_depends_on_the_clock_on_the_wall() -> None:
    found = {str(path.relative_to(ROOT)) for path in MODULES if looks_at_the_wall(path.read_text())}
    assert found == set(ALLOWED)
