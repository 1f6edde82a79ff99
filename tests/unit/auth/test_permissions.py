"""The one matrix, cell by cell, and which grant counts (R012, R059)."""

import pytest

from auth.permissions import MATRIX, Action, Role, effective_role, permits

CELLS = {
    (Role.OWNER, Action.READ_DOCUMENT): True,
    (Role.OWNER, Action.WRITE_DOCUMENT): True,
    (Role.OWNER, Action.SEE_PRESENCE): True,
    (Role.OWNER, Action.SHARE_PRESENCE): True,
    (Role.EDITOR, Action.READ_DOCUMENT): True,
    (Role.EDITOR, Action.WRITE_DOCUMENT): True,
    (Role.EDITOR, Action.SEE_PRESENCE): True,
    (Role.EDITOR, Action.SHARE_PRESENCE): True,
    (Role.COMMENTER, Action.READ_DOCUMENT): True,
    (Role.COMMENTER, Action.WRITE_DOCUMENT): False,
    (Role.COMMENTER, Action.SEE_PRESENCE): True,
    (Role.COMMENTER, Action.SHARE_PRESENCE): True,
    (Role.VIEWER, Action.READ_DOCUMENT): True,
    (Role.VIEWER, Action.WRITE_DOCUMENT): False,
    (Role.VIEWER, Action.SEE_PRESENCE): True,
    (Role.VIEWER, Action.SHARE_PRESENCE): True,
}


@pytest.mark.parametrize(("role", "action"), CELLS)
def test_each_cell_of_the_matrix_is_as_agreed(role: Role, action: Action) -> None:
    assert permits(role, action) is CELLS[role, action]


def test_the_table_above_covers_every_role_and_action() -> None:
    assert set(CELLS) == {(role, action) for role in Role for action in Action}


@pytest.mark.parametrize("role", ["admin", "OWNER", "", "*", None])
def test_an_unknown_role_may_do_nothing(role: object) -> None:
    assert not any(permits(role, action) for action in Action)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["delete_document", "WRITE_DOCUMENT", "", None])
def test_nobody_may_do_an_unknown_action(action: object) -> None:
    assert not any(permits(role, action) for role in Role)  # type: ignore[arg-type]


def test_the_matrix_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(TypeError):
        MATRIX[Role.VIEWER] = MATRIX[Role.OWNER]  # type: ignore[index]


@pytest.mark.parametrize(
    ("grants", "stored", "expected"),
    [
        ({}, None, None),
        ({}, Role.EDITOR, Role.EDITOR),
        ({"demo": Role.VIEWER}, Role.OWNER, Role.VIEWER),
        ({"*": Role.EDITOR}, None, Role.EDITOR),
        ({"*": Role.VIEWER}, Role.OWNER, Role.VIEWER),
        ({"demo": Role.COMMENTER, "*": Role.OWNER}, None, Role.COMMENTER),
        ({"other": Role.OWNER}, None, None),
        ({"other": Role.OWNER}, Role.VIEWER, Role.VIEWER),
        ({"Demo": Role.OWNER, "demo2": Role.OWNER}, None, None),
    ],
)
def test_the_tokens_grant_for_the_document_counts_before_its_star_grant_before_the_stored_one(
    grants: dict[str, Role], stored: Role | None, expected: Role | None
) -> None:
    assert effective_role(grants, stored, "demo") is expected
