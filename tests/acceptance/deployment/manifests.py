"""The manifests of k8s/ as kubectl renders them, and what they say of our containers."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.containers import ROOT, Container

__all__ = ["K8S", "OLDEST", "OVERLAYS", "SCHEMAS", "containers", "pods", "render", "schema_of"]

K8S = ROOT / "k8s"
SCHEMAS = ROOT.parent / "shared" / "schemas"
OVERLAYS = ("dev", "production")
OLDEST = 27
"""The first minor version of kubectl with kustomize 5."""
Manifest = dict[str, Any]


@functools.cache
def _kubectl() -> str | None:
    """Where a kubectl is whose kustomize knows what the manifests use."""
    found = shutil.which("kubectl")
    if found is None:
        return None
    told = subprocess.run([found, "version", "--client", "--output=json"], capture_output=True, check=False)
    version = re.search(rb'"gitVersion": *"v1\.(\d+)', told.stdout)
    return found if version is not None and int(version[1]) >= OLDEST else None


@functools.cache
def render(folder: str) -> tuple[Manifest, ...]:
    """All that a kustomization of k8s/ makes."""
    kubectl = _kubectl()
    if kubectl is None:
        pytest.skip(f"needs kubectl 1.{OLDEST} or later, to render manifests; Debian's is too old")
    # Without an environment of its own, so that no plug-in and no configuration of the machine's has a say.
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(
        [kubectl, "kustomize", str(K8S / folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def schema_of(manifest: Manifest) -> Path:
    """Where the schema of its kind is."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    kind = manifest["kind"].lower()
    custom = SCHEMAS / "crds" / group / f"{kind}_{version}.json"
    if "." in group and custom.exists():
        return custom
    return (
        SCHEMAS
        / "kubernetes"
        / "-".join(part for part in (kind, group.partition(".")[0], f"{version}.json") if part)
    )


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, Manifest]]:
    """The workloads, each with its pods' template."""
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            yield manifest, manifest["spec"]["template"]


def containers(manifests: tuple[Manifest, ...], *, secrets: Mapping[str, str]) -> dict[str, Container]:
    """Our containers, by the names of their workloads, as the kubelet would start them.

    `secrets`: files of optional secrets that are not there are left out; the others must be among these.
    """
    settings = {
        one["metadata"]["name"]: one["data"]
        for one in manifests
        if one["kind"] == "ConfigMap" and "data" in one
    }
    found = {}
    for workload, template in pods(manifests):
        for container in template["spec"]["containers"]:
            if "envFrom" not in container:  # a server
                continue
            environment = {
                name: value
                for source in container["envFrom"]
                for name, value in settings[source["configMapRef"]["name"]].items()
            }
            files = [
                item["path"]
                for volume in template["spec"]["volumes"]
                for source in volume.get("projected", {}).get("sources", ())
                for item in source["secret"]["items"]
            ]
            name = workload["metadata"]["name"]
            found[name] = Container(
                name=name,
                args=[_expanded(argument, environment) for argument in container["args"]],
                environment=environment,
                secrets={file: secrets[file] for file in files if file in secrets},
                source={"container": container, "pod": template["spec"], "workload": workload},
            )
    return found


def _expanded(argument: str, environment: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], argument)
