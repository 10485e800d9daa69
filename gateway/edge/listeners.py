"""Where the gateway listens and what it offers there: one address for callers, and one for the operator.

What changes the server is offered at the admin address only: a unix socket whose file decides who may, or a
loopback port that asks for a token. Everything else is offered at both. Where several gateway processes share
the callers' port, the admin address is the first one's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.edge.accounts import Accounts
from gateway.edge.aio import GrpcEdge
from gateway.edge.credentials import BearerToken
from gateway.edge.services.ensemble import EnsembleService
from gateway.edge.services.inference import InferenceService
from gateway.edge.services.repository import RepositoryService
from protos import oip
from protos.address import Address
from protos.health import Health
from protos.service import Method

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.config.schema import Server
    from gateway.edge.ask import Asker
    from gateway.edge.services.repository import Loadable
    from gateway.observe.metrics import Metrics
    from gateway.observe.statistics import Ledger
    from gateway.siblings import Siblings
    from protos.service import Rpc

__all__ = ["Listeners"]

ENSEMBLE_SERVICE = "accord.v1.EnsembleService"


class Listeners:
    """All listeners of one gateway process.

    Args:
        server: Its configuration.
        asker: Answers queries.
        metrics: Counts requests.
        ledger: What was done so far.
        loadable: The models that can be loaded and unloaded, by name.
        log: What is logged.
        siblings: The other processes of the server.
        publish: Tells them when something was taken in or out.
    """

    def __init__(
        self,
        server: Server,
        asker: Asker,
        *,
        metrics: Metrics,
        ledger: Ledger,
        loadable: Mapping[str, Loadable],
        log: oip.LogService,
        siblings: Siblings,
        publish: Callable[[], Awaitable[None]],
    ) -> None:
        self._asker = asker
        self._publish = publish
        self._health = Health(plan.name for plan in asker.catalog.plans())
        accounts = Accounts(asker, metrics, ledger)
        inference = InferenceService(asker, accounts, ledger, siblings)
        ensembles = EnsembleService(asker, accounts).methods()
        address, reflect = Address.parse(server.address), server.reflection
        public = GrpcEdge(
            {
                oip.SERVICE: inference.methods() | _log_settings(log, may_update=False),
                ENSEMBLE_SERVICE: ensembles,
            },
            self._health,
            reflection_enabled=address.is_local if reflect is None else reflect,
            compression=server.response_compression,
            shared_port=siblings.total > 1,
        )
        self._edges = [(public, address)]
        if server.admin and siblings.first:
            repository = RepositoryService(asker.catalog, loadable, on_change=self._changed).methods()
            admin = GrpcEdge(
                {
                    oip.SERVICE: inference.methods(oip.REPOSITORY_EXTENSIONS)
                    | repository
                    | _log_settings(log, may_update=True),
                    ENSEMBLE_SERVICE: ensembles,
                },
                self._health,
                reflection_enabled=True,
                guard=BearerToken(server.admin_token) if server.admin_token else None,
            )
            self._edges.append((admin, Address.parse(server.admin)))

    async def start(self) -> list[str]:
        """Listen, and return the bound addresses, the callers' first.

        Raises:
            OSError: If one cannot be bound.
        """
        return [(await edge.start(address)).text for edge, address in self._edges]

    def show_health(self) -> None:
        """Publish the readiness of the server and of everything served to grpc.health.v1."""
        catalog = self._asker.catalog
        ready = {plan.name: catalog.ready(plan) for plan in catalog.plans()}
        self._health.show({"": catalog.server_ready(), **ready})

    async def _changed(self) -> None:
        self.show_health()
        await self._publish()

    async def stop(self, drain_s: float) -> None:
        """Refuse new calls, let those in flight finish, then close."""
        self._asker.admission.draining = True
        self._health.close()
        # at once: the parent process does not wait for one after the other
        await asyncio.gather(*(edge.stop(drain_s) for edge, _ in self._edges))


def _log_settings(log: oip.LogService, *, may_update: bool) -> dict[str, Rpc]:
    request = oip.messages.LogSettingsRequest
    return {"LogSettings": Method(request, log.method(may_update=may_update))}
