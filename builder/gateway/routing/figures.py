"""How the routes stand, for Prometheus: computed when it asks, as canaries come and go with the file.

The names of the reloads are those of Prometheus for its own configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.gateway.routing.live import Routing

_PREFIX = "builder_gateway"


class Figures:
    """A collector of prometheus_client."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    def collect(self) -> Iterator[Any]:
        """Yield what there is to tell: nothing where no file is read."""
        from prometheus_client.core import GaugeMetricFamily

        if not self._routing.is_on:
            return
        state = self._routing.state
        yield GaugeMetricFamily(
            f"{_PREFIX}_routes_last_reload_successful",
            "whether the file of routes as it is now is in force",
            value=state.read_well,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_routes_last_reload_success_timestamp_seconds",
            "when a file of routes was last taken",
            value=state.read_at,
        )
        active = GaugeMetricFamily(
            f"{_PREFIX}_canary_active",
            "1 while a canary takes its share, 0 when it was taken back",
            labels=("route", "model"),
        )
        for route, is_active in self._routing.canaries():
            assert route.canary is not None
            active.add_metric((route.name, route.canary.model), is_active)
        yield active
