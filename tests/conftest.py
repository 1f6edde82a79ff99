"""Fixtures over real servers live in tests/services, one module a kind of server."""

pytest_plugins = [
    "tests.services.fixtures_auth",
    "tests.services.fixtures_ministack",
    "tests.services.fixtures_node",
    "tests.services.fixtures_postgres",
    "tests.services.fixtures_redis",
    "tests.services.fixtures_server",
    "tests.services.fixtures_cluster",
]
