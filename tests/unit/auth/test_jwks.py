"""The key cache against a real HTTP server: rotation, outages, storms and hostile answers (R051, threats T03, T04)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from auth.cognito import CognitoAuthenticator
from auth.identity import Identity, TokenRefused, TokenUncheckable
from auth.jwks import JwksCache
from tests.services.issuer import CLIENT_ID, ISSUER, Issuer, access_claims
from tests.services.jwks import JwksServer

FIRST, SECOND = Issuer("first-key"), Issuer("second-key")
KEYS_OF_SECOND = json.dumps({"keys": [SECOND.jwk]}).encode()
HOUR_S = 3600.0
PATIENCE_S = 10.0


class Clock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(jwks_server: JwksServer, clock: Clock) -> AsyncIterator[JwksCache]:
    """Not started: a fetch happens when a key is asked for."""
    jwks_server.publish(FIRST.jwk)
    cache = JwksCache(jwks_server.url, clock=clock)
    yield cache
    await cache.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what happens in the server's threads sets no event of this loop
            await asyncio.sleep(0.005)


async def sign_in(cache: JwksCache, issuer: Issuer) -> Identity:
    now = 1_800_000_000.0
    authenticator = CognitoAuthenticator(ISSUER, {CLIENT_ID}, cache)
    return await authenticator.authenticate(issuer.token(access_claims(now)), now=now)


async def test_a_key_is_fetched_once_and_then_comes_from_memory(cache: JwksCache, jwks_server: JwksServer) -> None:
    for _ in range(50):
        assert (await sign_in(cache, FIRST)).name == "alice"
    assert jwks_server.requests == ["/.well-known/jwks.json"]


async def test_a_hundred_callers_at_once_share_one_fetch(cache: JwksCache, jwks_server: JwksServer) -> None:
    jwks_server.publish(FIRST.jwk, SECOND.jwk)
    jwks_server.hold()
    callers = [asyncio.create_task(sign_in(cache, (FIRST, SECOND)[n % 2])) for n in range(100)]
    await until(lambda: jwks_server.fetches == 1)
    jwks_server.release()
    assert {identity.name for identity in await asyncio.gather(*callers)} == {"alice"}
    assert jwks_server.fetches == 1


async def test_the_event_loop_runs_on_while_the_issuer_is_slow(cache: JwksCache, jwks_server: JwksServer) -> None:
    jwks_server.hold()
    caller = asyncio.create_task(cache.key(FIRST.kid))
    await until(lambda: jwks_server.fetches == 1)  # passes only if this loop still turns while the answer is held
    assert not caller.done()
    jwks_server.release()
    assert await caller is not None


async def test_a_caller_who_gives_up_takes_nothing_from_the_others(cache: JwksCache, jwks_server: JwksServer) -> None:
    jwks_server.hold()
    impatient, patient = (asyncio.create_task(cache.key(FIRST.kid)) for _ in range(2))
    await until(lambda: jwks_server.fetches == 1)
    impatient.cancel()
    await asyncio.wait({impatient})
    jwks_server.release()
    assert await patient is not None
    assert jwks_server.fetches == 1


async def test_ten_thousand_invented_key_ids_cost_one_fetch_a_cool_down(
    cache: JwksCache, jwks_server: JwksServer, clock: Clock
) -> None:
    await cache.key(FIRST.kid)
    clock.seconds += HOUR_S
    for minute in range(1, 4):
        answers = await asyncio.gather(*(cache.key(f"invented-{minute}-{n}") for n in range(10_000)))
        assert set(answers) == {None}
        assert jwks_server.fetches == 1 + minute
        clock.seconds += 59.9
        assert await cache.key(f"invented-late-{minute}") is None
        assert jwks_server.fetches == 1 + minute
        clock.seconds += 0.1


async def test_a_storm_does_not_touch_those_whose_keys_are_known(cache: JwksCache, jwks_server: JwksServer) -> None:
    await cache.key(FIRST.kid)
    jwks_server.down = True
    await asyncio.gather(*(cache.key(f"invented-{n}") for n in range(1000)), return_exceptions=True)
    assert (await sign_in(cache, FIRST)).name == "alice"


async def test_an_id_that_was_absent_is_not_asked_for_again_until_five_minutes_later(
    cache: JwksCache, jwks_server: JwksServer, clock: Clock
) -> None:
    assert await cache.key("retired") is None
    fetches = jwks_server.fetches
    for _ in range(4):
        clock.seconds += 74.9
        assert await cache.key("retired") is None
    assert jwks_server.fetches == fetches
    clock.seconds += 0.5
    assert await cache.key("retired") is None
    assert jwks_server.fetches == fetches + 1


async def test_the_memory_of_absent_ids_is_bounded_and_forgets_the_oldest(
    cache: JwksCache, jwks_server: JwksServer, clock: Clock
) -> None:
    jwks_server.hold()
    asking = [asyncio.create_task(cache.key(f"absent-{n}")) for n in range(1025)]
    await until(lambda: jwks_server.fetches == 1)
    jwks_server.release()
    await asyncio.gather(*asking)
    clock.seconds += 60
    assert await cache.key("absent-1024") is None  # still remembered: no fetch
    assert jwks_server.fetches == 1
    assert await cache.key("absent-0") is None
    assert jwks_server.fetches == 2


async def test_a_new_key_is_picked_up_by_the_first_token_signed_with_it(
    cache: JwksCache, jwks_server: JwksServer
) -> None:
    await cache.start()
    jwks_server.publish(FIRST.jwk, SECOND.jwk)
    assert (await sign_in(cache, SECOND)).name == "alice"
    assert (await sign_in(cache, FIRST)).name == "alice"
    assert jwks_server.fetches == 2


async def test_a_withdrawn_key_is_dropped_with_the_next_good_fetch(
    cache: JwksCache, jwks_server: JwksServer, clock: Clock
) -> None:
    await sign_in(cache, FIRST)
    jwks_server.publish(SECOND.jwk)
    clock.seconds += 60
    await sign_in(cache, SECOND)
    with pytest.raises(TokenRefused, match="key unknown"):
        await sign_in(cache, FIRST)


async def test_the_background_refresh_brings_and_drops_keys_without_being_asked(jwks_server: JwksServer) -> None:
    jwks_server.publish(FIRST.jwk)
    cache = JwksCache(jwks_server.url, refresh_s=0.02)
    await cache.start()
    assert await cache.key(FIRST.kid) is not None
    jwks_server.publish(SECOND.jwk)
    seen = jwks_server.fetches
    await until(lambda: jwks_server.fetches >= seen + 2)
    assert await cache.key(SECOND.kid) is not None
    assert await cache.key(FIRST.kid) is None
    await cache.close()


async def test_after_close_nothing_is_fetched_any_more(jwks_server: JwksServer) -> None:
    jwks_server.publish(FIRST.jwk)
    cache = JwksCache(jwks_server.url, refresh_s=0.02)
    await cache.start()
    await cache.close()
    await cache.close()
    fetches = jwks_server.fetches
    with pytest.raises(TokenUncheckable):
        await cache.key("unknown")
    assert jwks_server.fetches == fetches
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"jwks-refresh", "jwks-fetch"})


async def test_closing_during_a_fetch_lets_its_callers_go(cache: JwksCache, jwks_server: JwksServer) -> None:
    jwks_server.hold()
    caller = asyncio.create_task(cache.key(FIRST.kid))
    await until(lambda: jwks_server.fetches == 1)
    await cache.close()
    with pytest.raises(TokenUncheckable):
        await caller
    jwks_server.release()


async def test_known_tokens_verify_through_an_hour_without_the_issuer(
    cache: JwksCache, jwks_server: JwksServer, clock: Clock
) -> None:
    await cache.start()
    jwks_server.down = True
    for _ in range(60):
        clock.seconds += 60
        assert (await sign_in(cache, FIRST)).name == "alice"
        with pytest.raises(TokenUncheckable):
            await sign_in(cache, SECOND)
    assert jwks_server.fetches == 1 + 60  # one a cool-down, no more, however long the outage
    assert cache.age_s == HOUR_S
    jwks_server.publish(FIRST.jwk, SECOND.jwk)
    jwks_server.down = False
    clock.seconds += 60
    assert (await sign_in(cache, SECOND)).name == "alice"
    assert cache.age_s == 0


async def test_a_cache_that_starts_without_the_issuer_says_try_again_and_recovers_by_itself(
    jwks_server: JwksServer,
) -> None:
    jwks_server.down = True
    cache = JwksCache(jwks_server.url, refresh_s=0.02)
    await cache.start()
    assert cache.age_s is None
    with pytest.raises(TokenUncheckable):
        await sign_in(cache, FIRST)
    jwks_server.publish(FIRST.jwk)
    jwks_server.down = False
    await until(lambda: cache.age_s is not None)
    assert (await sign_in(cache, FIRST)).name == "alice"
    await cache.close()


async def test_an_issuer_that_never_answers_holds_nobody_longer_than_the_timeout(jwks_server: JwksServer) -> None:
    jwks_server.hold()
    cache = JwksCache(jwks_server.url, timeout_s=0.1)
    async with asyncio.timeout(PATIENCE_S):
        await cache.start()
        with pytest.raises(TokenUncheckable):
            await sign_in(cache, FIRST)
        await cache.close()


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"", {}),
        (200, b"{", {}),
        (200, b"null", {}),
        (200, b"<html>maintenance</html>", {}),
        (200, b'{"keys": []}', {}),
        (200, b'{"keys": {}}', {}),
        (200, b'{"keys": [' + b" " * 65536 + b"]}", {}),
        (200, b"[" * 60_000, {}),
        (206, KEYS_OF_SECOND, {}),
        (404, KEYS_OF_SECOND, {}),
        (500, KEYS_OF_SECOND, {}),
        (503, b"", {"Retry-After": "1"}),
        (204, b"", {}),
    ],
)
async def test_a_bad_answer_leaves_the_good_keys_in_place(
    cache: JwksCache, jwks_server: JwksServer, status: int, body: bytes, headers: dict[str, str]
) -> None:
    await cache.start()
    jwks_server.answer(body, status, headers)
    with pytest.raises(TokenUncheckable):
        await cache.key(SECOND.kid)
    assert jwks_server.fetches == 2
    assert (await sign_in(cache, FIRST)).name == "alice"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_not_followed(cache: JwksCache, jwks_server: JwksServer, status: int) -> None:
    with JwksServer() as elsewhere:
        elsewhere.publish(SECOND.jwk)
        await cache.start()
        jwks_server.answer(KEYS_OF_SECOND, status, {"Location": elsewhere.url})
        with pytest.raises(TokenUncheckable):
            await cache.key(SECOND.kid)
        assert elsewhere.fetches == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jwks.json",
        "file:///etc/passwd",
        "ftp://127.0.0.1/jwks.json",
        "data:application/json,{}",
        "http://example.org/jwks.json",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1.example.org/jwks.json",
        "http://0.0.0.0/jwks.json",
        "https://",
        "https:///jwks.json",
        "https://user:secret@example.org/jwks.json",
        "https://example.org:0/jwks.json",
        "https://example.org:99999/jwks.json",
    ],
)
def test_keys_are_fetched_over_https_or_from_this_machine_only(url: str) -> None:
    with pytest.raises(ValueError):
        JwksCache(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc/.well-known/jwks.json",
        "http://127.0.0.1:4566/pool/.well-known/jwks.json",
        "http://[::1]:4566/pool/.well-known/jwks.json",
        "http://localhost/pool/.well-known/jwks.json",
    ],
)
def test_the_urls_we_live_on_are_accepted(url: str) -> None:
    JwksCache(url)
