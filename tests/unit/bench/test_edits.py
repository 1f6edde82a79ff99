"""What the members type is sound: our firewall takes every update in the order it is sent, and pycrdt agrees."""

import random

import pytest
from pycrdt import Doc, Text

from bench.peers.dialects import awareness_clocks
from bench.peers.edits import CURSOR, DELETED, ROOT, TYPED, Edit, client_ids, moving, pasted, typed_line
from bench.peers.plans import SCENARIOS, cursors, four_people, join_storm, many_rooms, one_room
from bench.peers.trace import LAG_S, people_typing
from collab_server.rooms.replica import Replica
from presence.state import AwarenessStates


def held_by_a_room(updates: list[bytes]) -> Replica:
    replica = Replica()
    for update in updates:
        assert replica.apply(update) is not None
    return replica


def test_a_line_is_taken_by_the_firewall_and_reads_as_typed() -> None:
    replica = held_by_a_room(typed_line(7, 100))
    assert replica.clocks == {7: 100}


def test_writers_need_nothing_of_each_other() -> None:
    edits = list(one_room(20, 0, 5, 1, 1).edits)
    in_any_order = sorted(edits, key=lambda edit: (random.Random(edit.member).random(), edit.due_s))
    replica = held_by_a_room([edit.body for edit in in_any_order])
    assert sum(replica.clocks.values()) == len(edits)


def test_every_edit_is_found_again_by_its_client_and_clock() -> None:
    for plan in (one_room(5, 2, 5, 1, 1), many_rooms(5, 2, 5, 1, 1), cursors(5, 10, 1, 1), four_people(2, 1, 10)):
        keys = [(edit.client, edit.clock, edit.kind) for edit in plan.edits]
        assert len(set(keys)) == len(keys)
        assert len({edit.body for edit in plan.edits}) == len(keys)


def test_plans_are_in_the_order_of_time_and_always_the_same() -> None:
    first, second = four_people(20, 3, 8), four_people(20, 3, 8)
    assert first == second
    for plan in (first, one_room(50, 0, 5, 3, 8)):
        assert [edit.due_s for edit in plan.edits] == sorted(edit.due_s for edit in plan.edits)


def test_the_trace_is_typed_by_four_with_deletes_and_jumps() -> None:
    edits = people_typing(30)
    assert {edit.member for edit in edits} == {0, 1, 2, 3}
    assert 15 < len(edits) / 30 < 40
    assert 0.02 < sum(edit.kind == DELETED for edit in edits) / len(edits) < 0.3
    replica = held_by_a_room([edit.body for edit in edits])
    assert sum(replica.clocks.values()) == sum(edit.kind == TYPED for edit in edits)


def test_the_trace_is_sound_for_a_server_that_is_late_by_less_than_its_lag() -> None:
    edits = people_typing(20)
    delays = {member: LAG_S * 0.9 * member / 3 for member in range(4)}
    arriving = sorted(edits, key=lambda edit: edit.due_s + delays[edit.member])
    held_by_a_room([edit.body for edit in arriving])


def test_four_peoples_text_is_the_same_in_any_replica() -> None:
    texts = set()
    for shift in (0.0, LAG_S * 0.9):
        doc: Doc[Text] = Doc()
        text = doc.get(ROOT, type=Text)
        for edit in sorted(people_typing(15), key=lambda edit: edit.due_s + shift * (edit.member % 2)):
            doc.apply_update(edit.body)
        texts.add(str(text))
    assert len(texts) == 1
    assert len(texts.pop()) > 200


def test_cursors_are_news_to_our_presence_each_time() -> None:
    states = AwarenessStates(max_ids=4)
    for edit in moving(0, 99, 10, 2):
        ((client, clock),) = awareness_clocks(edit.body)
        assert (client, clock, edit.kind) == (edit.client, edit.clock, CURSOR)
        assert states.apply("member", [(client, clock, b"{}")], now=0.0).accepted


def test_the_long_document_is_a_megabyte() -> None:
    updates = pasted(3, 1_000_000, 1_000)
    assert held_by_a_room(updates).clocks == {3: 1_000_000}


def test_the_watchers_of_a_storm_see_a_typist_of_their_own_room() -> None:
    plan = join_storm(1, 1)
    assert plan.rooms == ("room", "room", "other", "other")
    assert {edit.member for edit in plan.edits} == {0, 2}
    assert plan.probes == {1, 3}


def test_client_ids_are_of_32_bits_and_differ() -> None:
    ids = client_ids(800)
    assert len(set(ids)) == 800
    assert all(2**31 <= number < 2**32 for number in ids)


@pytest.mark.parametrize(
    ("letter", "members", "fan_out"), [("a", 50, 49), ("c", 800, 1), ("d", 4_000, 3), ("h", 24, 23)]
)
def test_a_scenario_has_the_members_its_title_says(letter: str, members: int, fan_out: int) -> None:
    plan = SCENARIOS[letter].plan(0.2, 0.2)
    assert (len(plan.rooms), plan.fan_out) == (members, fan_out)
    assert all(isinstance(edit, Edit) for edit in plan.edits)
