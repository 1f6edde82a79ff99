"""The soak of `bench/soak.py`, shrunk: of people who came, typed and left nothing stays in the server."""

from bench.soak import Crowd, Soak
from collab_server.settings import Settings
from tests.services.fixtures_server import StartServer

WORKER_FILES = 5


async def test_nothing_is_left_of_people_who_came_and_went(start_server: StartServer) -> None:
    server = start_server(auth="dev", room_grace_s=0.2)
    crowd = Crowd(connections=60, rooms=10, joins_per_s=30, edits_per_s=5, document_s=2)
    found = await Soak(server, crowd).run(5.0, 0.5)
    assert found.lost == []
    assert found.visits > 100
    assert max(sample.members for sample in found.during) > 20
    assert found.frames > found.edits > found.visits
    assert found.after is not None
    assert found.after.is_empty
    assert found.after.tasks <= found.before.tasks
    # The pool to PostgreSQL and the worker that folds checkpoints have opened theirs meanwhile.
    assert found.after.files <= found.before.files + Settings().database_pool_size + WORKER_FILES < found.visits
