"""The wheel holds everything that an installation needs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "tenuto": ROOT / "shared/tenuto",
    "tenuto_orchestrator": ROOT / "orchestrator/tenuto_orchestrator",
    "tenuto_worker": ROOT / "worker/tenuto_worker",
    "tenuto_gateway": ROOT / "gateway/tenuto_gateway",
}


def test_the_wheel_holds_every_package_with_types_and_migrations(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    for package, folder in PACKAGES.items():
        sources = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        expected = {f"{package}/{path.relative_to(folder)}" for path in sources}
        assert f"{package}/py.typed" in expected
        assert expected <= held
    assert any(name.startswith("tenuto/store/migrations/versions/") for name in held)
    outside = {name.partition("/")[0] for name in held} - PACKAGES.keys()
    assert all(name.endswith(".dist-info") for name in outside), outside
