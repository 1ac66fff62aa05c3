"""The examples of docs/bulk.md for clusters, each on two worker processes and a real model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm

PAGE = Path(__file__).parents[2] / "docs" / "bulk.md"
TURNS, RAY, DASK = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
CLUSTERS = {
    "ray": (RAY, "ray.init()", 'ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")'),
    "dask": (DASK, "threads_per_worker=4", "threads_per_worker=4, dashboard_address=None"),
}
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.mark.timeout(400)  # Ray takes a minute to start on a busy machine
@pytest.mark.parametrize("engine", CLUSTERS)
def test_cluster_example_runs_and_paces_two_processes(
    engine: str, local_paradigm: LocalParadigm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    moments: list[float] = []
    add = local_paradigm._ledger.add
    monkeypatch.setattr(local_paradigm._ledger, "add", lambda usage: (moments.append(time.monotonic()), add(usage)))
    example, general, here = CLUSTERS[engine]
    assert general in example
    script = tmp_path / "example.py"
    script.write_text(f"{TURNS}\n{example.replace(general, here).replace('alfred-4.2', local_paradigm.model)}")
    reached = {"PARADIGM_BASE_URL": local_paradigm.base_url, "PARADIGM_API_KEY": local_paradigm.api_key}
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **QUIET, **reached},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused = re.findall(r"BadRequestError\(.*answered 400: .*15001 tokens", done.stdout)
    assert len(refused) == 1, done.stdout
    assert len(moments) == 12
    assert max(moments) - min(moments) > 2  # eleven turns of 0.25 s each; without pacing, well under 1 s
