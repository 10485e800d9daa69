"""Methods of the protocol that a server does not offer."""

from __future__ import annotations

from protos import oip


def test_every_method_is_offered_or_refused_with_a_reason() -> None:
    """A caller of a known method never meets gRPC's bare refusal."""
    offered = {"ModelInfer", "ServerLive"}
    refusals = oip.unoffered(offered)
    assert refusals.keys() == oip.METHODS - offered
    assert all(refusals.values())
    assert oip.unoffered(oip.METHODS) == {}


def test_shared_memory_is_refused_with_what_to_do_instead() -> None:
    """All methods of both kinds of shared memory, and only they."""
    told = {name for name, why in oip.unoffered(()).items() if "send tensors in the message" in why}
    assert told == {
        f"{kind}SharedMemory{call}"
        for kind in ("System", "Cuda")
        for call in ("Status", "Register", "Unregister")
    }
