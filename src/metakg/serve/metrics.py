"""Figures for Prometheus. One registry for each app, so that two apps in one process do not add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from metakg.heap import peak_bytes, resident_bytes

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What is counted.

    Args:
        gauges: called at each reading: name -> (meaning, value).
    """

    def __init__(self, gauges: Callable[[], dict[str, tuple[str, float]]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "metakg_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "metakg_request_seconds",
            "From the first byte read to the last byte written.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._events = Counter("metakg_events", "Events kept.", ("kind",), registry=self._registry)
        self._ways = Counter("metakg_answers", "Recommendations by the way they were made.", ("way",), registry=self._registry)
        self._gauges = gauges
        self._registry.register(self)
        self.by_status: dict[str, int] = {}
        self.total = 0

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. The route is its template, so nobody can fill the memory with paths."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        family = f"{status // 100}xx"
        self.by_status[family] = self.by_status.get(family, 0) + 1
        self.total += 1

    def event(self, kind: str, count: int = 1) -> None:
        """Count events that were kept."""
        self._events.labels(kind).inc(count)

    def way(self, way: str) -> None:
        """Count a recommendation that was made."""
        self._ways.labels(way).inc()

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Return the gauges; called by Prometheus' registry."""
        for name, (meaning, value) in self._gauges().items():
            yield GaugeMetricFamily(f"metakg_{name}", meaning, value=value)


def memory_bytes() -> int:
    """Return the memory of this process that lies in RAM: now where the system tells, else at most."""
    return resident_bytes() or peak_bytes()
