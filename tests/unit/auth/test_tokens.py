"""Forged, altered and foreign tokens are all refused (threats T02, T03, T05, T06)."""

import hmac
import json
from hashlib import sha256
from itertools import combinations
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.cognito import CognitoAuthenticator
from auth.identity import Identity, TokenRefused, TokenUncheckable
from auth.tokens import LONGEST_TOKEN
from tests.services.issuer import CLIENT_ID, ISSUER, Issuer, access_claims, b64url, compact, rsa_key

NOW = 1_800_000_000.0
HONEST = Issuer()


class KnownKeys:
    """A key source that remembers which ids it was asked for."""

    def __init__(self, **keys: Any) -> None:
        self.keys = keys
        self.asked: list[str] = []
        self.is_closed = False

    async def key(self, kid: str) -> RSAPublicKey | None:
        self.asked.append(kid)
        return self.keys.get(kid)

    async def close(self) -> None:
        self.is_closed = True


def honest_keys() -> KnownKeys:
    return KnownKeys(**{HONEST.kid: HONEST.private_key.public_key()})


async def sign_in(token: str | None, keys: KnownKeys | None = None, now: float = NOW) -> Identity:
    authenticator = CognitoAuthenticator(ISSUER, {CLIENT_ID}, keys or honest_keys())
    return await authenticator.authenticate(token, now=now)


async def refusal_of(token: str | None, keys: KnownKeys | None = None, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as refused:
        await sign_in(token, keys, now)
    assert not isinstance(refused.value, TokenUncheckable)
    return refused.value.reason


async def test_an_honest_access_token_gives_its_identity() -> None:
    identity = await sign_in(HONEST.token(access_claims(NOW, **{"cognito:groups": ["admin", "writers"]})))
    assert identity == Identity(
        subject="5c6f1c86-0a51-7009-7a64-90de1f0f1f2b",
        name="alice",
        groups=frozenset({"admin", "writers"}),
        expires_at=NOW + 300,
        grants={},
        issued_at=NOW,
    )


async def test_a_name_claim_is_shown_before_the_user_name() -> None:
    assert (await sign_in(HONEST.token(access_claims(NOW, name="Alice Liddell")))).name == "Alice Liddell"


async def test_grants_written_into_a_cognito_token_give_nothing() -> None:
    assert (await sign_in(HONEST.token(access_claims(NOW, grants={"*": "owner"}, groups=["admin"])))) == (
        await sign_in(HONEST.token(access_claims(NOW)))
    )


@pytest.mark.parametrize("token", [None, ""])
async def test_no_token_is_refused(token: str | None) -> None:
    assert await refusal_of(token) == "token missing"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, [], ["RS256"], {"RS256": 1}])
async def test_an_unsigned_token_is_refused_however_it_spells_none(alg: object) -> None:
    for signature in (b"", b"x"):
        token = HONEST.token(access_claims(NOW), alg=alg).rpartition(".")[0] + "." + b64url(signature)
        assert await refusal_of(token) == "algorithm refused"


async def test_a_token_without_its_signature_is_refused() -> None:
    token = HONEST.token(access_claims(NOW))
    assert await refusal_of(token.rpartition(".")[0] + ".") == "signature refused"
    assert await refusal_of(token.rpartition(".")[0]) == "signature refused"


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
    ],
)
@pytest.mark.parametrize("alg", ["HS256", "RS256"])
async def test_a_token_signed_with_the_public_key_as_a_shared_secret_is_refused(
    alg: str, encoding: serialization.Encoding, form: serialization.PublicFormat
) -> None:
    secret = HONEST.private_key.public_key().public_bytes(encoding, form)
    token = compact(
        {"kid": HONEST.kid, "alg": alg}, access_claims(NOW), lambda signed: hmac.digest(secret, signed, sha256)
    )
    assert await refusal_of(token) in {"algorithm refused", "signature refused"}


async def test_other_true_signatures_of_the_right_key_are_refused() -> None:
    def pss(signed: bytes) -> bytes:
        return HONEST.private_key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())

    def rs512(signed: bytes) -> bytes:
        return HONEST.private_key.sign(signed, padding.PKCS1v15(), hashes.SHA512())

    for alg, sign in {"PS256": pss, "RS512": rs512}.items():
        for named in (alg, "RS256"):
            token = compact({"kid": HONEST.kid, "alg": named}, access_claims(NOW), sign)
            assert await refusal_of(token) in {"algorithm refused", "signature refused"}


async def test_an_elliptic_curve_token_is_refused_even_when_its_key_is_among_the_keys() -> None:
    curve_key = ec.generate_private_key(ec.SECP256R1())
    keys = KnownKeys(curve=curve_key.public_key())
    for alg, reason in {"ES256": "algorithm refused", "RS256": "key unknown"}.items():
        token = compact(
            {"kid": "curve", "alg": alg},
            access_claims(NOW),
            lambda signed: curve_key.sign(signed, ec.ECDSA(hashes.SHA256())),
        )
        assert await refusal_of(token, keys) == reason


async def test_a_token_of_another_key_under_a_known_id_is_refused() -> None:
    stranger = Issuer("stranger")
    assert await refusal_of(stranger.token(access_claims(NOW), kid=HONEST.kid)) == "signature refused"


async def test_a_token_of_an_unknown_key_is_refused() -> None:
    assert await refusal_of(Issuer("stranger").token(access_claims(NOW))) == "key unknown"


@pytest.mark.parametrize("kid", [None, "", 7, ["first-key"], {"first-key": 1}, True])
async def test_a_key_id_that_is_no_text_is_refused(kid: object) -> None:
    keys = honest_keys()
    assert await refusal_of(HONEST.token(access_claims(NOW), kid=kid), keys) == "key id refused"
    assert keys.asked == []


@pytest.mark.parametrize(
    "kid",
    [
        "../../etc/passwd%00",
        "first-key\n",
        "first-key\0",
        "first key",
        "' or 1=1 --",
        "http://169.254.169.254/latest/meta-data",
        "$(id)",
        "{{7*7}}",
        "first-key;",
        "clé",
        "a" * 129,
        "a" * 700,
    ],
)
async def test_a_key_id_that_could_mean_something_elsewhere_never_reaches_the_keys(kid: str) -> None:
    keys = honest_keys()
    assert await refusal_of(HONEST.token(access_claims(NOW), kid=kid), keys) == "key id refused"
    assert keys.asked == []


async def test_a_key_id_of_ten_kilobytes_is_refused_unread() -> None:
    keys = honest_keys()
    assert await refusal_of(HONEST.token(access_claims(NOW), kid="a" * 10_000), keys) == "token malformed"
    assert await refusal_of(HONEST.token(access_claims(NOW), kid="a" * 5_000), keys) == "token malformed"
    assert keys.asked == []


async def test_the_longest_key_id_and_one_with_every_allowed_sign_work() -> None:
    for kid in ("k" * 128, "aZ09._=+/-"):
        keys = KnownKeys(**{kid: HONEST.private_key.public_key()})
        assert (await sign_in(HONEST.token(access_claims(NOW), kid=kid), keys)).name == "alice"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIC"]},
        {"jwk": {"kty": "RSA"}},
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
    ],
)
async def test_a_header_that_brings_a_key_or_changes_the_reading_is_refused(header: dict[str, Any]) -> None:
    keys = honest_keys()
    assert await refusal_of(HONEST.token(access_claims(NOW), **header), keys) == "header refused"
    assert keys.asked == []


async def test_an_attackers_own_key_in_the_header_is_not_used() -> None:
    stranger = Issuer("stranger")
    token = stranger.token(access_claims(NOW), kid=HONEST.kid, jwk={"kty": "RSA", "n": "AQ", "e": "AQAB"})
    assert await refusal_of(token) == "header refused"
    assert await refusal_of(stranger.token(access_claims(NOW), kid=HONEST.kid, jwk=stranger.jwk)) == "header refused"


async def test_a_harmless_extra_header_is_ignored() -> None:
    assert (await sign_in(HONEST.token(access_claims(NOW), typ="JWT", cty="x"))).name == "alice"


WRONG_CLAIMS = {
    "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_OtherPool",
    "token_use": "id",
    "client_id": "another-client",
    "exp": NOW - 31,
    "nbf": NOW + 31,
    "sub": "",
}


@pytest.mark.parametrize(
    "wrong", [names for size in range(1, len(WRONG_CLAIMS) + 1) for names in combinations(WRONG_CLAIMS, size)]
)
async def test_every_combination_of_wrong_claims_is_refused(wrong: tuple[str, ...]) -> None:
    await refusal_of(HONEST.token(access_claims(NOW, **{claim: WRONG_CLAIMS[claim] for claim in wrong})))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": None}, "issuer refused"),
        ({"iss": ISSUER + "/"}, "issuer refused"),
        ({"iss": ISSUER[:-1]}, "issuer refused"),
        ({"iss": ISSUER.upper()}, "issuer refused"),
        ({"iss": ISSUER.replace("eu-west-1.", "us-east-1.")}, "issuer refused"),
        ({"iss": [ISSUER]}, "issuer refused"),
        ({"token_use": None}, "not an access token"),
        ({"token_use": "refresh"}, "not an access token"),
        ({"token_use": ["access"]}, "not an access token"),
        ({"client_id": None}, "client refused"),
        ({"client_id": ""}, "client refused"),
        ({"client_id": [CLIENT_ID]}, "client refused"),
        ({"client_id": None, "aud": CLIENT_ID}, "client refused"),
        ({"exp": None}, "times refused"),
        ({"exp": str(NOW + 300)}, "times refused"),
        ({"exp": True}, "times refused"),
        ({"exp": float("inf")}, "times refused"),
        ({"exp": float("nan")}, "times refused"),
        ({"exp": 10**400}, "times refused"),
        ({"exp": -1}, "times refused"),
        ({"nbf": "soon"}, "times refused"),
        ({"iat": [NOW]}, "times refused"),
        ({"sub": None}, "subject refused"),
        ({"sub": 7}, "subject refused"),
        ({"sub": "a" * 129}, "subject refused"),
        ({"sub": "alice\0"}, "subject refused"),
        ({"sub": "alice\nbob"}, "subject refused"),
        ({"sub": "\ud800"}, "subject refused"),
        ({"cognito:groups": "admin"}, "groups refused"),
        ({"cognito:groups": {"admin": True}}, "groups refused"),
        ({"cognito:groups": ["admin", 1]}, "groups refused"),
    ],
)
async def test_a_claim_that_is_missing_or_of_the_wrong_shape_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert await refusal_of(HONEST.token(access_claims(NOW, **changed))) == reason


async def test_an_id_token_is_refused_as_an_access_token() -> None:
    id_token = access_claims(NOW, token_use="id", client_id=None, aud=CLIENT_ID, email="alice@example.org")
    assert await refusal_of(HONEST.token(id_token)) == "not an access token"
    assert await refusal_of(HONEST.token(id_token | {"token_use": "access"})) == "client refused"


@pytest.mark.parametrize(("late_s", "accepted"), [(-1, True), (0, True), (29.9, True), (30, False), (3600, False)])
async def test_expiry_is_forgiven_for_thirty_seconds(late_s: float, accepted: bool) -> None:
    token = HONEST.token(access_claims(NOW, exp=NOW))
    if accepted:
        assert (await sign_in(token, now=NOW + late_s)).expires_at == NOW
    else:
        assert await refusal_of(token, now=NOW + late_s) == "token expired"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(("early_s", "accepted"), [(0, True), (30, True), (30.1, False), (3600, False)])
async def test_a_clock_ahead_of_ours_is_forgiven_for_thirty_seconds(claim: str, early_s: float, accepted: bool) -> None:
    token = HONEST.token(access_claims(NOW, **{claim: NOW}))
    if accepted:
        assert (await sign_in(token, now=NOW - early_s)).name == "alice"
    else:
        assert await refusal_of(token, now=NOW - early_s) == "token not valid yet"


async def test_a_token_without_nbf_and_iat_is_accepted() -> None:
    assert (await sign_in(HONEST.token(access_claims(NOW, iat=None)))).name == "alice"


@pytest.mark.parametrize("claims", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"[" * 3000, b"1" * 5000])
async def test_signed_claims_that_are_no_object_are_refused(claims: bytes) -> None:
    assert await refusal_of(HONEST.token(claims)) in {"token malformed", "signature refused"}


@pytest.mark.parametrize(
    "header", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 700, b"{" * 700, b'"' + b"a" * 600 + b'"', b"9" * 700]
)
async def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    _, payload, signature = HONEST.token(access_claims(NOW)).split(".")
    assert await refusal_of(f"{b64url(header)}.{payload}.{signature}") == "token malformed"


async def test_a_token_over_eight_kilobytes_is_refused_and_one_at_the_bound_is_not() -> None:
    def padded(filler: int) -> str:
        return HONEST.token(access_claims(NOW, filler="a" * filler))

    longest = next(n for n in range(6000, 5000, -1) if len(padded(n)) <= LONGEST_TOKEN)
    assert len(padded(longest)) > LONGEST_TOKEN - 3
    assert (await sign_in(padded(longest))).name == "alice"
    assert await refusal_of(padded(longest + 3)) == "token malformed"


@pytest.mark.parametrize("changed", ["é", "\ud800", " ", "\n", "\0", "=", "!", "."])
async def test_a_token_with_anything_added_is_refused(changed: str) -> None:
    token = HONEST.token(access_claims(NOW))
    for altered in (token + changed, changed + token, token.replace(".", "." + changed, 1)):
        reason = await refusal_of(altered)
        assert reason == "token malformed" or changed.isascii()


async def test_closing_the_authenticator_closes_its_keys() -> None:
    keys = honest_keys()
    await CognitoAuthenticator(ISSUER, {CLIENT_ID}, keys).close()
    assert keys.is_closed


@pytest.mark.parametrize(
    ("issuer", "client_ids", "leeway_s"),
    [
        ("", {CLIENT_ID}, 30),
        (ISSUER, set(), 30),
        (ISSUER, {""}, 30),
        (ISSUER, CLIENT_ID, 30),
        (ISSUER, {CLIENT_ID}, -1),
        (ISSUER, {CLIENT_ID}, 3600),
        (ISSUER, {CLIENT_ID}, float("nan")),
    ],
)
def test_rules_that_could_admit_nobody_or_anybody_are_refused(issuer: str, client_ids: Any, leeway_s: float) -> None:
    with pytest.raises(ValueError):
        CognitoAuthenticator(issuer, client_ids, honest_keys(), leeway_s)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400) | st.from_regex(r"[A-Za-z0-9_-]{0,200}\.[A-Za-z0-9_-]{0,99}\.[A-Za-z0-9_-]{0,99}"))
async def test_any_text_at_all_is_refused_and_nothing_worse(token: str) -> None:
    await refusal_of(token)


ONE_TOKEN = HONEST.token(access_claims(NOW))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ONE_TOKEN) - 1), st.characters(max_codepoint=0x7F))
async def test_a_token_with_any_one_character_changed_is_refused(position: int, character: str) -> None:
    altered = ONE_TOKEN[:position] + character + ONE_TOKEN[position + 1 :]
    if altered != ONE_TOKEN:
        await refusal_of(altered)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["kid", "alg", "typ", "jku", "crit", "b64", "x5t"]), JSON))
async def test_any_header_over_a_strangers_signature_is_refused(header: dict[str, Any]) -> None:
    token = Issuer("stranger").token(access_claims(NOW), **header)
    await refusal_of(token)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(access_claims(NOW))), JSON, min_size=1))
async def test_any_signed_claims_give_a_sound_identity_or_a_refusal(changed: dict[str, Any]) -> None:
    try:
        identity = await sign_in(HONEST.token(json.dumps(access_claims(NOW) | changed).encode()))
    except TokenRefused:
        return
    assert 0 < len(identity.subject) <= 128
    assert identity.subject.isprintable()
    assert 0 < len(identity.name) <= 128
    assert identity.expires_at is not None
    assert NOW - 30 < identity.expires_at < float("inf")


def test_the_forging_keys_of_this_file_are_not_the_same() -> None:
    assert rsa_key("first-key").public_key() != rsa_key("stranger").public_key()
