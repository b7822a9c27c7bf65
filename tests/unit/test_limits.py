"""Bounds on what a peer can make us hold: RFC 6455 §10.4."""

from __future__ import annotations

import dataclasses

import pytest

from wsframe import limits
from wsframe.limits import Limits

FIELDS = [field.name for field in dataclasses.fields(Limits) if field.name != "send_buffer_policy"]
REQUIRED = ["max_head_size", "max_headers", "max_body_size"]


def test_defaults_are_bounds():
    assert Limits().max_message_size == 2**20
    assert [name for name in FIELDS if getattr(Limits(), name) is None] == ["max_fragment_size"]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [-1, 2**62 + 1])
def test_a_limit_out_of_range_is_a_value_error(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be between 0 and 2\*\*62, not {value}"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [0, 1, 2**62])
def test_a_limit_may_be_any_number_in_range(name, value):
    assert getattr(Limits(**{name: value}), name) == value


@pytest.mark.parametrize("name", FIELDS)
def test_all_but_what_handshakes_send_may_be_unlimited(name):
    if name not in REQUIRED:
        assert getattr(Limits(**{name: None}), name) is None
    else:
        with pytest.raises(ValueError, match=f"{name} must be a number"):
            Limits(**{name: None})


def test_the_policy_is_one_of_three():
    for policy in ("wait", "drop", "close"):
        assert Limits(send_buffer_policy=policy).send_buffer_policy == policy
    with pytest.raises(ValueError, match="must be wait, drop or close, not 'ignore'"):
        Limits(send_buffer_policy="ignore")


def test_limits_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().max_message_size = 1


@pytest.mark.parametrize(
    ("max_size", "message", "fragment"),
    [(None, None, None), (10, 10, None), ((10, 5), 10, 5), ((None, 5), None, 5), ((10, None), 10, None)],
)
def test_max_size_is_for_messages_or_for_messages_and_fragments(max_size, message, fragment):
    made = Limits.for_max_size(max_size)
    assert made == Limits(max_message_size=message, max_fragment_size=fragment)


def test_max_size_has_precedence_over_limits_if_it_is_given():
    mine = Limits(max_message_size=10, max_fragment_size=5, max_fragments=3)
    assert Limits.for_max_size(2**20, mine) is mine
    assert Limits.for_max_size(20, mine) == Limits(max_message_size=20, max_fragments=3)
    assert Limits.for_max_size(None, mine) == Limits(max_message_size=None, max_fragments=3)
    assert Limits.for_max_size(2**20) == Limits()


@pytest.mark.parametrize("max_size", [-1, (10, -1), 2**63])
def test_max_size_out_of_range_is_a_value_error(max_size):
    with pytest.raises(ValueError, match="must be between"):
        Limits.for_max_size(max_size)


def test_times_are_positive_seconds():
    for name in limits.__all__:
        if name.endswith("_S"):
            assert 0 < getattr(limits, name) <= 60


def test_all_names_exist():
    for name in limits.__all__:
        assert hasattr(limits, name)
