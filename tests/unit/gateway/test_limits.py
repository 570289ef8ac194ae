"""The rate: a burst, then the rate, whatever the clock does."""

from __future__ import annotations

from agp.gateway.limits import TokenBucket


def test_a_burst_is_granted_and_then_the_rate() -> None:
    bucket = TokenBucket(rate_per_s=8, burst=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.125), bucket.take(100.125)] == [True, False]


def test_rest_never_saves_more_than_the_burst() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=2, now=0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=1, now=10.0)
    assert bucket.take(10.0)
    assert not bucket.take(0.0)
    assert not bucket.take(10.5)
    assert bucket.take(11.0)
