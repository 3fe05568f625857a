"""A Prometheus of the tests' own: it scrapes what it is told every second, keeps exemplars and evaluates rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import yaml

from tests.support.processes import OwnedProcess, free_port
from tests.support.reaper import Reaper

__all__ = ["Prometheus"]


class Prometheus:
    """A running server; everything that it is asked is asked over its HTTP API."""

    def __init__(
        self,
        program: str,
        *,
        jobs: Mapping[str, Sequence[int]],
        labels: Mapping[str, str],
        rules: Sequence[Path],
        folder: Path,
        reaper: Reaper,
    ) -> None:
        """`jobs`: the ports to be scraped, by job; `labels` are put on all that is scraped."""
        address = f"127.0.0.1:{free_port()}"
        configuration = folder / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(_configuration(jobs, labels, rules)))
        self.url = f"http://{address}"
        self.process = OwnedProcess(
            [
                program,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            log=folder / "prometheus.log",
            reaper=reaper,
        )
        self.process.until_ready(self._ready, timeout=30)

    async def value(self, expression: str) -> float | None:
        """What a query has as its one value now; None: nothing."""
        found = await self._ask("query", query=expression)
        assert len(found["result"]) <= 1, f"{expression} has several values"
        return float(found["result"][0]["value"][1]) if found["result"] else None

    async def has_data(self, expression: str, *, since: float) -> bool:
        """Whether a query had a finite value at any time from `since` (seconds of the epoch) on."""
        now = (await self._ask("query", query="time()"))["result"][0]
        found = await self._ask("query_range", query=expression, start=since, end=float(now), step=1)
        return any(math.isfinite(float(value)) for series in found["result"] for _, value in series["values"])

    async def label_values(self, label: str, *, of: str) -> list[str]:
        """The values of a label on a metric."""
        return cast("list[str]", await self._ask(f"label/{label}/values", **{"match[]": of}))

    async def has_series(self, selector: str) -> bool:
        """Whether there is any series that a selector matches."""
        return bool(await self._ask("series", **{"match[]": selector}))

    async def exemplars(self, expression: str, *, since: float) -> list[dict[str, str]]:
        """The labels of the exemplars of a query."""
        now = (await self._ask("query", query="time()"))["result"][0]
        found = await self._ask("query_exemplars", query=expression, start=since, end=float(now))
        return [each["labels"] for series in found for each in series["exemplars"]]

    async def rules(self) -> list[dict[str, Any]]:
        """The rules that it evaluates, with their state and health."""
        found = await self._ask("rules")
        return [rule for group in found["groups"] for rule in group["rules"]]

    async def _ask(self, what: str, **parameters: Any) -> Any:
        async with httpx.AsyncClient(timeout=20) as http:
            response = await http.get(f"{self.url}/api/v1/{what}", params=parameters)
        answer = response.json()
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5).is_success
        except httpx.TransportError:
            return False


def _configuration(
    jobs: Mapping[str, Sequence[int]], labels: Mapping[str, str], rules: Sequence[Path]
) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": dict(labels)}
                ],
            }
            for job, ports in jobs.items()
        ],
    }
