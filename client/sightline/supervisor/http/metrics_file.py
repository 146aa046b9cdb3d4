"""Figures as a file for the text-file collector of Prometheus' node exporter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sightline.entities import Figure
from sightline.supervisor.http.prometheus import figure_families


class _Figures(Collector):
    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = list(figures)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        return figure_families(self._figures)


def write_metrics_file(path: Path, figures: Iterable[Figure]) -> None:
    """Write the file in one piece: the collector may read at any moment."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(figures))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(generate_latest(registry))
    draft.replace(path)
