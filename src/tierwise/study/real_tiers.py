"""A study's way to the agents of real tiers: addresses, tokens and TLS."""

from tierwise.errors import TierFault
from tierwise.serving.client import AgentClient
from tierwise.serving.http_client import ConnectionLost
from tierwise.serving.tls import tls_of
from tierwise.tiers.dialling import Dial
from tierwise.tiers.remote import connect
from tierwise.tiers.topology import Tier, Topology

# heuristic: an idle agent tells its metadata in milliseconds, over a slow link in a second or two.
_ANSWER_S = 20.0


def agent_client(
    tier: Tier, url: str, dial: Dial | None = None, timeout_s: float = 120.0
) -> AgentClient:
    """A client of ``tier``'s agent, which is reached at ``url``."""
    return AgentClient(url, dial, tier.token, tls=tls_of(tier.tls), timeout_s=timeout_s)


def check_reachable(topology: Topology) -> None:
    """Make sure that real tiers answer, and let the study in.

    Raises:
        EnvironmentFault: one does not (``.tier``).
    """
    real = tuple(tier for tier in topology.tiers if tier.url is not None)
    connect(Topology(real)).close()
    for tier in real:
        try:
            with agent_client(tier, tier.url or "", timeout_s=_ANSWER_S) as client:
                client.metadata()
        except TierFault as fault:
            hint = fault.hint
            if isinstance(fault.__cause__, ConnectionLost | ConnectionError):
                hint = f"Does it speak TLS? Then write https:// in its url. Otherwise: {hint}"
            raise TierFault(
                f"Tier {tier.name}: {fault.message}", hint=hint, tier=tier.name
            ) from fault
