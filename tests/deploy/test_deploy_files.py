"""``deploy/``: what can be said about its files without a container, a cluster or systemd.

The rest is in ``tests/external/test_deploy_tools.py``. Nothing starts a container, as
docs/operate/deploy.md says.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]
from tests.cli.conftest import Serve

from triggers_api import __version__
from triggers_api.settings import load, table, variable

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm" / "triggers"
COMPOSE: Final = ("compose.yaml", "compose.scale.yaml")
UNITS: Final = ("triggers.service", "triggers-worker@.service")
OURS: Final = {variable(row) for row in table()}
NOT_SETTINGS: Final = {"TRIGGERS_VERSION", "TRIGGERS_PUBLISHED_PORT"}
"""What compose files alone use."""


def compose(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return document


def texts() -> Iterator[tuple[str, str]]:
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(ROOT)), path.read_text()


def seconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match, duration
    return int(match[1])


def longest_end_s() -> float:
    """Requests and deliveries under way have the same grace, one after the other."""
    return 2 * load(environ={}).shutdown_grace_s


# ── all of them ───────────────────────────────────────────────────────────────────────────────────


def test_every_variable_that_is_set_is_a_setting() -> None:
    named = {
        (path, name)
        for path, text in texts()
        for name in re.findall(r"\bTRIGGERS_[A-Z][A-Z_]*[A-Z]\b", text)
    }
    assert {name for _, name in named} >= {"TRIGGERS_DATABASE_URL", "TRIGGERS_SECRET_KEY"}
    assert [each for each in sorted(named) if each[1] not in OURS | NOT_SETTINGS] == []


def test_no_key_and_no_password_is_in_any_of_them() -> None:
    for path, text in texts():
        for line in text.splitlines():
            given = re.search(r"(?:KEY|PASSWORD)\s*[=:]\s*(\S+)", line.replace(":?set it in", ""))
            assert given is None or given[1].startswith("${"), f"{path}: {line}"


# ── compose ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_fits_the_schema_of_the_compose_specification(name: str) -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    document = compose(name)
    jsonschema.Draft202012Validator(schema).validate(document)
    service = next(iter(document["services"].values()))
    service["helthcheck"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_names_what_is_there(name: str) -> None:
    document = compose(name)
    services = document["services"]
    for service in services.values():
        for network in service.get("networks", ()):
            assert network in document["networks"]
        for other in service.get("depends_on", ()):
            assert other in services
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), (
                    volume
                )  # or the folder is made, empty, and root's
            else:
                assert source in document["volumes"], volume
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", COMPOSE)
def test_what_a_compose_file_must_be_given_is_in_the_example(name: str) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / name).read_text()))
    example = (DEPLOY / "example.env").read_text()
    assert asked
    assert asked <= set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


@pytest.mark.parametrize("name", COMPOSE)
def test_our_containers_are_confined_healthy_and_given_time_to_end(name: str) -> None:
    ours = {
        service: about
        for service, about in compose(name)["services"].items()
        if about["image"].startswith("triggers-api:")
    }
    assert ours
    for service, about in ours.items():
        assert about["read_only"] is True
        assert about["cap_drop"] == ["ALL"]
        assert about["security_opt"] == ["no-new-privileges:true"]
        assert seconds(about["stop_grace_period"]) > longest_end_s(), service
        if service != "migrate":
            assert about["restart"] == "unless-stopped"
            assert about["healthcheck"]["test"][5] == "/readyz"


@pytest.mark.parametrize("name", COMPOSE)
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    for service in compose(name)["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", COMPOSE)
def test_every_image_of_others_has_a_version(name: str) -> None:
    for service in compose(name)["services"].values():
        tag = service["image"].rpartition(":")[2]
        assert "/" not in tag
        assert tag != "latest"


def test_the_database_has_room_for_the_connections_of_all_processes() -> None:
    services = compose("compose.scale.yaml")["services"]
    ours = [each for each in services.values() if each["image"].startswith("triggers-api:")]
    in_all = sum(
        int(each["environment"]["TRIGGERS_DB_POOL_SIZE"])
        + int(each["environment"]["TRIGGERS_DB_MAX_OVERFLOW"])
        + 3
        for each in ours
    )
    (room,) = re.findall(r"max_connections=(\d+)", " ".join(services["postgres"]["command"]))
    assert len(ours) == 5
    assert in_all < int(room)


# ── the image ─────────────────────────────────────────────────────────────────────────────────────


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    whole = lines.replace("\\\n", " ").splitlines()
    return [
        (word, " ".join(rest.split()))
        for word, _, rest in (line.strip().partition(" ") for line in whole)
        if word
    ]


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    steps = instructions()
    stages = [number for number, (word, _) in enumerate(steps) if word == "FROM"]
    final = steps[stages[-1] :]
    assert len(stages) == 2
    users = [rest for word, rest in final if word == "USER"]
    assert users == ["10001:10001"]
    assert [rest for word, rest in final if word == "VOLUME"] == ["/data"]
    assert not any("pip install" in rest or "COPY src" in rest for _, rest in final)
    assert not any("curl" in rest for _, rest in steps)


def test_what_the_image_copies_is_there_and_let_through_to_the_builder() -> None:
    ignored = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source.removeprefix('./')}" in ignored, source


# ── the health check that needs no curl ───────────────────────────────────────────────────────────


def ask(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    script = DEPLOY / "docker" / "healthcheck.py"
    return subprocess.run(
        [sys.executable, "-I", "-S", str(script), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_health_check_ends_well_where_the_service_answers(serve: Serve) -> None:
    serving = serve()
    port = serving.url.rpartition(":")[2]
    done = ask("/livez", TRIGGERS_PORT=port)
    assert (done.returncode, done.stdout[:4]) == (0, "200 ")
    assert ask("/readyz", port, TRIGGERS_PORT="1").returncode == 0
    # A route that answers, but not with 200.
    assert ask("/api/organization", port).returncode == 1
    assert ask("/livez", port, TRIGGERS_PORT="tcp://10.0.0.1:8000").returncode == 0


def test_the_health_check_fails_where_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        done = ask("/livez", TRIGGERS_PORT=str(held.getsockname()[1]))
    assert done.returncode == 1
    assert done.stdout.startswith("no answer: ")


# ── systemd ───────────────────────────────────────────────────────────────────────────────────────


def unit(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_waits_as_long_as_the_end_may_take_and_starts_again(name: str) -> None:
    found = unit(name)
    assert found["Type"] == ["notify"]
    assert int(found["TimeoutStopSec"][0]) > longest_end_s()
    assert found["Restart"] == ["always"]
    assert found["RestartPreventExitStatus"] == ["2"]  # a setting that cannot be used
    assert int(found["LimitNOFILE"][0]) >= 65536


def test_both_units_are_confined_alike() -> None:
    one, other = (unit(name) for name in UNITS)
    own = {
        "After", "Description", "Environment", "EnvironmentFile", "ExecStart", "StateDirectory",
        "StateDirectoryMode", "WorkingDirectory",
    }  # fmt: skip
    assert {key: one[key] for key in one if key not in own} == {
        key: other[key] for key in other if key not in own
    }
    assert one["ProtectSystem"] == ["strict"]
    assert one["CapabilityBoundingSet"] == [""]


# ── the chart ─────────────────────────────────────────────────────────────────────────────────────


def chart(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CHART / name).read_text())
    return document


def test_the_chart_is_of_this_version() -> None:
    assert chart("Chart.yaml")["appVersion"] == __version__


def test_the_defaults_fit_the_schema_which_knows_each_of_them() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = chart("values.yaml")
    jsonschema.Draft7Validator(schema).validate(values)

    def known(part: dict[str, Any], about: dict[str, Any], path: str) -> Iterator[str]:
        for name, value in part.items():
            properties = about.get("properties", {})
            if about.get("additionalProperties") is False and name not in properties:
                yield f"{path}{name}"
            elif isinstance(value, dict) and name in properties:
                yield from known(value, properties[name], f"{path}{name}.")

    assert list(known(values, schema, "")) == []


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "both"},
        {"replicaCount": 3},
        {"embedded": {"replicas": 2}},
        {"settings": {"api_key": "in the clear"}},
        {"settings": {"TRIGGERS_RATE_LIMIT": 1}},
        {"persistence": {"accessModes": ["ReadWriteMany"]}},
        {"image": {"digest": "latest"}},
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(chart("values.yaml") | values)


def test_what_the_chart_alone_decides_cannot_be_a_setting_of_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    names = set(schema["properties"]["settings"]["propertyNames"]["not"]["enum"])
    assert {row.name for row in table() if row.metadata["secret"]} <= names
