"""The close-code table: whole, unambiguous, and short enough to be sent."""

from __future__ import annotations

import re
from http import HTTPStatus

import pytest

from collab_server.errors import Close, Refused

ALL = pytest.mark.parametrize("close", Close, ids=lambda close: close.slug)


def test_codes_and_slugs_name_one_entry_each() -> None:
    assert len({close.code for close in Close}) == len(Close)
    assert len({close.slug for close in Close}) == len(Close)
    assert len({close.text for close in Close}) == len(Close)


@ALL
def test_the_band_of_a_code_says_whether_to_try_again(close: Close) -> None:
    if 4400 <= close.code <= 4499:
        assert not close.retry
    elif 4500 <= close.code <= 4599:
        assert close.retry
    else:
        assert close.code in (1002, 1003, 1007, 1009, 1012)  # RFC 6455 §7.4.1 and the IANA registry
        assert close.retry == (close.code == 1012)


@ALL
def test_what_is_ours_is_worth_another_try(close: Close) -> None:
    assert close.theirs or close.retry


@ALL
def test_a_text_fits_a_close_frame_and_is_plain(close: Close) -> None:
    assert 0 < len(close.text.encode()) <= 120
    assert close.text.isascii()


@ALL
def test_a_slug_can_be_a_metric_label(close: Close) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", close.slug)


@ALL
def test_a_refused_upgrade_is_an_http_error_of_the_same_side(close: Close) -> None:
    assert isinstance(close.status, HTTPStatus)
    assert close.status >= 400
    if not close.theirs and close.status is not HTTPStatus.BAD_REQUEST:  # 400 stands where no upgrade is refused so
        assert close.status >= 500


def test_a_refusal_says_the_tables_text_unless_it_has_more_to_say() -> None:
    assert Refused(Close.MALFORMED).detail == Close.MALFORMED.text
    assert str(Refused(Close.MALFORMED)) == Close.MALFORMED.text
    refusal = Refused(Close.MALFORMED, "the third byte")
    assert (refusal.reason, refusal.detail, str(refusal)) == (Close.MALFORMED, "the third byte", "the third byte")
