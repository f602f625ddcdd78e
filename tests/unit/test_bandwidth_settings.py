"""bandwidth's keys: precedence, refusals, and the numbers that they become (pure)."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.errors import CNIError
from cni.kernel import tc
from cni.kernel.htb import Htb
from cni.kernel.tc import Tbf
from cni_bandwidth.settings import NOT_KNOWN, Settings, ready

MTU = 1500
FRAME = 1518
TEN_MBIT = {"ingressRate": 10_000_000, "ingressBurst": NOT_KNOWN[0]}


def read(**keys: Any) -> Settings:
    return Settings({"type": "bandwidth", **keys})


def ingress(**keys: Any) -> Tbf:
    found = read(**keys).limit("ingress", MTU)
    assert found is not None
    return found.wanted


@pytest.mark.parametrize("zero", [0, None, 5000])
def test_a_key_at_the_top_hides_the_capability(zero: int | None) -> None:
    """Whatever its value and its case; subnets do not, and apply to the capability."""
    runtime = {"runtimeConfig": {"Bandwidth": {"IngressRate": 8000, "IngressBurst": 80, "EGRESSRATE": None}}}
    assert read(**runtime).limited and read(**runtime).limits.ingress_rate == 8000
    burst = {"eGressBurst": zero} if zero else {}
    hidden = read(**runtime, eGressRate=zero, **burst)
    assert hidden.limits.ingress_rate == 0 and hidden.limited == bool(zero)
    some = ingress(**runtime, shapedSubnets=["10.0.0.0/8"])
    assert isinstance(some, Htb) and some.part == "packets from 10.0.0.0/8"
    runtime["runtimeConfig"]["Bandwidth"]["unshapedSubnets"] = ["fd00::1/8"]  # type: ignore[assignment]
    some = ingress(**runtime, shapedSubnets=["10.0.0.0/8"])
    assert isinstance(some, Htb) and some.part == "packets not from fd00::/8"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"ingressRate": 8, "egressBurst": 8}, "if rate is set, burst must also be set"),
        ({"ingressBurst": 8}, "if burst is set, rate must also be set"),
        ({"egressRate": 8}, "if rate is set, burst must also be set"),
        ({"egressRate": 8, "egressBurst": ((1 << 32) - 1) * 8}, "burst cannot be more than 4GB"),
        ({"egressRate": 7, "egressBurst": 8}, "egressRate is 7 bits per second, and must be at least 8"),
        ({"egressRate": -1}, "egressRate is -1, and must not be negative"),
        (
            {"egressRate": 2.0},
            'failed to load netconf: cannot read key "egressRate": it must be an integer, not number',
        ),
        ({"shapedSubnets": ["10.0.0.0"]}, 'bad subnet "10.0.0.0" provided, details invalid CIDR address: 10.0.0.0'),
        (
            {"shapedSubnets": ["::/0"], "unshapedSubnets": ["::/0"]},
            "unshapedSubnets and shapedSubnets cannot be both specified, one of them should be discarded",
        ),
        ({"latency": -1}, "latency is -1, and must be from 0 to 100000"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], text: str) -> None:
    """At the top and in the capability; ingress comes first."""
    for given_keys in (keys, {"runtimeConfig": {"bandwidth": keys}}):
        if "latency" in keys and "runtimeConfig" in given_keys:
            continue
        with pytest.raises(CNIError) as refused:
            read(**given_keys)
        where = 'key "egressRate"' if "runtimeConfig" not in given_keys else "runtimeConfig.bandwidth.egressRate"
        assert refused.value.msg == text.replace('key "egressRate"', where)
        assert refused.value.details or refused.value.code == 6


def test_gos_numbers() -> None:
    """Those of Go's own tests, and of a burst that takes longer than its 32 bits hold."""
    as_go = {"burstTime": 0, "latency": 0}
    assert ingress(ingressRate=8, ingressBurst=8, **as_go) == Tbf(1, 1, 1)
    assert ingress(ingressRate=8000, ingressBurst=80, **as_go) == Tbf(1000, 10, 35)
    found = ingress(**{**TEN_MBIT, "ingressBurst": NOT_KNOWN[1]}, **as_go)
    assert found.buffer == (1 << 32) - 1
    limit = read(**{**TEN_MBIT, "ingressBurst": NOT_KNOWN[1]}).limit("ingress", MTU)
    assert limit is not None
    saturated, wrapped = limit.accepted
    assert saturated == found and 0 < wrapped.burst < saturated.burst / 1.5


@pytest.mark.parametrize("burst", NOT_KNOWN)
def test_a_burst_that_is_not_known(burst: int) -> None:
    """25 ms at the rate, or what burstTime says; at least ten packets. No packet waits longer than 25 ms."""
    found = ingress(**{**TEN_MBIT, "ingressBurst": burst})
    assert found == Tbf(1_250_000, 31_250, 31_250)
    assert ingress(**{**TEN_MBIT, "ingressBurst": burst}, burstTime=100).burst == 125_000
    assert ingress(ingressRate=8000, ingressBurst=burst) == Tbf(1000, 10 * FRAME, 10 * FRAME)
    assert ingress(ingressRate=8_000_000_000, ingressBurst=burst) == Tbf(10**9, 25_000_000, 25_000_000)


def test_a_burst_that_is_known_is_taken() -> None:
    """The queue holds 25 ms all the same."""
    assert ingress(ingressRate=80_000_000, ingressBurst=80_000_000) == Tbf(10_000_000, 10_000_000, 250_000)
    assert ingress(ingressRate=80_000_000, ingressBurst=80_000_000, latency=100).limit == 1_000_000
    assert ingress(ingressRate=80_000_000, ingressBurst=80_000_000, latency=0).limit == 10_250_000


@given(st.integers(8, 1 << 40), st.integers(8, (1 << 32) - 1), st.sampled_from([68, 1500, 9000, 65535]))
def test_the_bucket_holds_one_packet(rate: int, burst: int, mtu: int) -> None:
    """With an Ethernet header, and after rounding; and the queue holds whatever the bucket lets through."""
    limit = read(egressRate=rate, egressBurst=burst).limit("egress", mtu)
    assert limit is not None
    found = limit.wanted
    if found.buffer < (1 << 32) - 1:
        assert found.burst >= mtu + 14
    assert found.limit >= min(found.burst, 65536)


@pytest.mark.parametrize(
    ("keys", "lacking", "named"),
    [
        ({}, "tbf", "CONFIG_NET_SCH_TBF"),
        ({"shapedSubnets": ["10.0.0.0/8"]}, "htb", "CONFIG_NET_SCH_HTB"),
        ({}, "mirred", "CONFIG_NET_ACT_MIRRED"),
        ({}, "ifb", "CONFIG_IFB"),
        ({}, "htb", ""),
    ],
)
def test_status_names_the_missing_option(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], lacking: str, named: str
) -> None:
    """Of the queues that the configuration needs."""
    call = SimpleNamespace(site=SimpleNamespace(rtnl=SimpleNamespace(makes=lambda kind: kind != lacking)))
    monkeypatch.setattr(tc, "lacks", lambda rtnl, kind: kind == lacking)
    if named:
        with pytest.raises(CNIError) as missing:
            ready(call, read(**keys))  # type: ignore[arg-type]
        assert (missing.value.code, missing.value.details) == (50, f"it lacks {named}")
    else:
        ready(call, read(**keys))  # type: ignore[arg-type]
