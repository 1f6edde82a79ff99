"""The issuer's public keys, kept in memory and kept fresh (R051, threat T04).

A token decides nothing here: strangers who invent key ids cause one fetch a cool-down at most, an issuer that is away
costs nobody their session, and the event loop never waits for a socket. Called by `CognitoAuthenticator` for every
connection; the assembly calls `start`.
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.identity import TokenUncheckable
from auth.jwks_document import JwksUnavailable, check_jwks_url, fetch_keys

_log = structlog.get_logger(__name__)

_MOST_ABSENT_KIDS = 1024  # at 128 characters a kid about 200 kB
_LONGEST_RETRY_PAUSE_S = 60.0  # while the issuer is away: soon enough after an outage, and no load in it


class JwksCache:
    """A `KeySource` over one JWKS URL.

    refresh_s: between fetches in the background, which bring rotations and withdrawn keys.
    cooldown_s: between fetches that unknown key ids ask for; also keeps an attacker from using us against the issuer.
    absent_s: how long an id stays known as absent after a good fetch without it.
    timeout_s, max_bytes: bounds of one fetch, and timeout_s also of anyone's wait for it.
    clock: monotonic seconds, so that a jump of the wall clock changes nothing.

    A good fetch replaces all keys, so a withdrawn key is gone at once; a failed one replaces none, however long it
    fails. Raises ValueError for a URL that keys must not be fetched from.
    """

    def __init__(
        self,
        url: str,
        *,
        refresh_s: float = 300.0,
        cooldown_s: float = 60.0,
        absent_s: float = 300.0,
        timeout_s: float = 5.0,
        max_bytes: int = 65536,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_jwks_url(url)
        self._url = url
        self._refresh_s = refresh_s
        self._cooldown_s = cooldown_s
        self._absent_s = absent_s
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._absent_until: dict[str, float] = {}  # oldest first
        self._fetched_at: float | None = None
        self._failures = 0  # since the last good fetch
        self._cool_at = float("-inf")  # when the next unknown kid may ask for a fetch
        self._fetching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def age_s(self) -> float | None:
        """Seconds since the keys were last fetched well; None before the first time."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    async def start(self) -> None:
        """Fetch once, for at most `timeout_s` seconds, and keep the keys fresh from then on.

        A failure is logged and tried again in the background: an issuer that is away must not keep a task from
        starting.
        """
        await asyncio.wait({self._fetch()}, timeout=self._timeout_s)
        self._refreshing = asyncio.create_task(self._keep_fresh(), name="jwks-refresh")

    async def close(self) -> None:
        self._closed = True
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def key(self, kid: str) -> RSAPublicKey | None:
        if kid in self._keys:
            return self._keys[kid]
        if self._is_known_absent(kid):
            return None
        if await self._fetched_again():
            if kid not in self._keys:
                self._remember_absent(kid)
        elif self._fetched_at is None or self._failures:
            raise TokenUncheckable("keys unavailable")
        return self._keys.get(kid)

    async def _fetched_again(self) -> bool:
        """Whether a fetch was allowed, and went well: one that is under way, or a new one outside the cool-down."""
        if self._closed:
            raise TokenUncheckable("keys unavailable")
        if self._fetching is None:
            if self._clock() < self._cool_at:
                return False
            self._cool_at = self._clock() + self._cooldown_s
        fetching = self._fetch()
        await asyncio.wait({fetching}, timeout=self._timeout_s)
        if not fetching.done() or fetching.cancelled():
            raise TokenUncheckable("keys unavailable")
        return self._failures == 0

    def _fetch(self) -> asyncio.Task[None]:
        """The one fetch under way. Never a second beside it, so at most one thread is ever busy or stuck."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._replace_keys(), name="jwks-fetch")
        return self._fetching

    async def _replace_keys(self) -> None:
        try:
            self._keys = await asyncio.to_thread(
                fetch_keys, self._url, timeout_s=self._timeout_s, max_bytes=self._max_bytes
            )
        except Exception as failure:  # whatever went wrong, the keys held stay good and the next try comes
            self._failures += 1
            is_ours = not isinstance(failure, JwksUnavailable)
            _log.warning("jwks_fetch_failed", reason=str(failure), failures=self._failures, exc_info=is_ours)
        else:
            self._failures = 0
            self._fetched_at = self._clock()
        finally:
            self._fetching = None

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s())
            await asyncio.wait({self._fetch()})

    def _pause_s(self) -> float:
        if not self._failures:
            return self._refresh_s
        return min(2.0 ** min(self._failures - 1, 6), _LONGEST_RETRY_PAUSE_S, self._refresh_s)

    def _is_known_absent(self, kid: str) -> bool:
        return self._clock() < self._absent_until.get(kid, float("-inf"))

    def _remember_absent(self, kid: str) -> None:
        self._absent_until.pop(kid, None)
        self._absent_until[kid] = self._clock() + self._absent_s
        if len(self._absent_until) > _MOST_ABSENT_KIDS:
            del self._absent_until[next(iter(self._absent_until))]
