"""Hosts that a connector may not connect to, and tenants whose replies have hostile headers, beside a sound one."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_gainsight.cli.operations.connector_status import ConnectorStatus, connector_statuses
from frame_gainsight.runtime import SystemClock
from frame_gainsight.runtime.allowed_hosts import VARIABLE
from frame_gainsight.sandbox import Clock, Morning
from tests.fixtures.cluster import Cluster, unlimited, until
from tests.fixtures.commands import FAILED, WRONG_USE, run, words
from tests.unit.gainsight.served import Request, Served

NOBODY = {VARIABLE: ""}
KEY = "an-api-access-key"


def written(folder: Path, host: str) -> Path:
    file = folder / "file.yaml"
    file.write_text(f"id: acme\nhost: {host}\nperiod: 1s\n", encoding="utf-8")
    return file


def status_of(cluster: Cluster, connector: str) -> ConnectorStatus:
    found, _ = connector_statuses(cluster.settings, cluster.codec, SystemClock().now())
    return next(one for one in found if one.id == connector)


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        ("http://127.0.0.1:9", "a loopback address"),
        ("https://0x7f.1", "a loopback address"),
        ("https://169.254.169.254", "metadata"),
        ("https://kms", "a name of one part"),
        ("https://acme.example:9092", "port 9092"),
    ],
)
@pytest.mark.parametrize("check", [(), ("--no-check",)], ids=["checked", "not checked"])
def test_add_refuses_a_host_in_its_own_network_and_names_the_setting(
    cluster: Cluster, host: str, cause: str, check: tuple[str, ...]
) -> None:
    file = written(cluster.folder, host)
    done = run(cluster, "connector", "add", str(file), *check, given=KEY, **NOBODY)
    assert done.returncode == FAILED
    assert cause in words(done.stderr) and f"{VARIABLE}=" in words(done.stderr)
    assert KEY not in done.stdout + done.stderr
    assert not cluster.records(cluster.settings.connectors_topic)


@pytest.mark.parametrize(
    "host", ["https://" + "a" * 64 + ".example", "https://\u0430cme..example", "https://1.2.3.4.5"]
)
def test_commands_refuse_a_host_that_is_no_name(cluster: Cluster, host: str) -> None:
    done = run(cluster, "connector", "add", str(written(cluster.folder, host)), given=KEY)
    assert done.returncode in (FAILED, WRONG_USE)
    assert "is not a host name" in words(done.stderr)


def test_check_preview_and_init_keep_to_the_setting_too(cluster: Cluster) -> None:
    tenant = unlimited(seed=71, scenario=Morning(emails=4, periods=1))
    definition = cluster.add("acme", tenant)
    checked = run(cluster, "connector", "check", "acme", **NOBODY)
    assert checked.returncode == FAILED and f"{VARIABLE}=127.0.0.1" in words(checked.stdout)
    shown = run(cluster, "connector", "preview", "acme", **NOBODY)
    assert shown.returncode == FAILED and f"{VARIABLE}=127.0.0.1" in words(shown.stderr)
    options = ("--yes", "--id", "bolt", "--host", definition.host)
    made = run(cluster, "connector", "init", *options, given=tenant.access_key, **NOBODY)
    assert made.returncode == FAILED and f"{VARIABLE}=127.0.0.1" in words(made.stderr)
    assert tenant.calls()["total"] == 0
    assert run(cluster, "connector", "check", "acme").returncode == 0


def test_services_keep_to_the_setting_and_status_says_what_to_do(cluster: Cluster) -> None:
    tenant = unlimited(seed=72, scenario=Morning(emails=4, periods=1))
    cluster.add("acme", tenant, period=1)
    cluster.producer(**NOBODY)
    until("status names the setting", lambda: f"{VARIABLE}=" in status_of(cluster, "acme").last_error)
    assert "loopback" in status_of(cluster, "acme").last_error
    assert tenant.calls()["total"] == 0


HOSTILE = [
    {"Date": "Mon, 01 Jan 2024 00:00:00 +9999999999999999"},
    {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"Set-Cookie": "a=b; expires=" + "9" * 400, "Date": "()"},
]


@pytest.mark.parametrize("headers", HOSTILE, ids=["overflow", "1970", "cookie"])
def test_a_tenant_s_headers_end_no_process_and_are_that_connector_s_failure(
    cluster: Cluster, headers: dict[str, str]
) -> None:
    def answer(request: Request) -> None:
        request.json({"result": True, "data": []}, headers=headers)

    well = unlimited(seed=73, scenario=Morning(emails=4, periods=1))
    cluster.add("well", well, period=1)
    with Served(answer) as server:
        file = written(cluster.folder, server.url)
        added = run(cluster, "connector", "add", str(file), "--no-check", given=KEY)
        assert added.returncode == 0, added.stderr
        producer = cluster.producer()
        until("status tells the cause", lambda: status_of(cluster, "acme").last_error not in ("", None))
        well.advance(600)
        until("the other goes on", lambda: len(cluster.raw()) >= 4)
        assert producer.running
        assert run(cluster, "connector", "check", "acme").returncode == FAILED


def test_a_clock_too_far_ahead_is_in_status_and_goes_from_it_when_it_is_set_right(cluster: Cluster) -> None:
    tenant = unlimited(seed=74, clock=Clock(SystemClock().now() + 20 * 60_000, 1.0))
    cluster.add("acme", tenant, period=1)
    cluster.producer()
    until("status says it", lambda: "20 minutes ahead" in (status_of(cluster, "acme").last_error or ""))
    tenant.advance(-20 * 60)
    until("it is gone", lambda: "ahead" not in (status_of(cluster, "acme").last_error or ""))
