"""The canary: a key that is known, and everything that comes out of us searched for it, in every form it may take."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port
from frame_gainsight.kafka import reader, topics
from frame_gainsight.sandbox import Morning, Tenant
from tests.fixtures.cluster import Cluster, Service, unlimited, until
from tests.fixtures.commands import FAILED, run
from tests.fixtures.processes import PATIENCE

KEY = "c4nary+/key=%55&d1-9a77"  # other when URL-encoded
CLIENT, CLIENT_SECRET = "c4nary-client-31", "c4nary+/secret=%99&e8-7b66"
VERBOSE = {
    "FRAME_GAINSIGHT_LOG_LEVEL": "DEBUG",
    "FRAME_GAINSIGHT_RETRY_SECONDS": "0.2",
    "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3",
}
AFTER_A_FAULT = 1.0  # seconds in which a service at a terminal says all that it has to say of a fault
EVIL = "https://evil.example/"
SEEN_BY_COMMANDS: list[tuple[str, Any]] = [
    ("unauthorized", "GS_APIG_2401"),
    ("ip_not_allowed", True),
    ("redirect", EVIL),
    ("html_page", 502),
    ("broken_json", "truncated"),
    ("dropped", "mid"),
    ("failure", {"code": "P_5005", "status": 400}),
    ("throttled", True),
]
SEEN_BY_SERVICES: list[tuple[str, Any]] = [("server_error", 503), ("redirect", EVIL), ("unauthorized", "GSOBJ_1024")]
CRASH = """
import sys, structlog
from frame_gainsight.connectors import Secret
from frame_gainsight.runtime import SystemClock
from frame_gainsight.runtime.logging import set_up_logging
set_up_logging("DEBUG")
secret = Secret.of(sys.argv[1], sys.stdin.read())
credentials = secret.credentials(SystemClock())
try:
    raise ValueError(f"{secret!r} {credentials!r} {[secret]} {vars} {secret}")
except ValueError as error:
    structlog.get_logger().exception("crashed", secret=secret, credentials=credentials)
    raise RuntimeError("and so it ends") from error
"""
FAULT = """
import runpy, sys
from frame_gainsight.gainsight.http_transport import HttpTransport

async def send(self, *given, **more):
    mine = dict(vars(self))
    raise TypeError(f"a fault inside the client, of {len(mine)} attributes")

HttpTransport._send_authenticated = send
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
FAULTY = (("producer",), ("frame_gainsight.cli.main", "enrich"))


def forms(secret: str) -> dict[str, bytes]:
    """A secret as it may appear: as it is, encoded, turned round; base64 at each of the three places in its stream."""
    found = {
        "plain": secret.encode(),
        "reversed": secret[::-1].encode(),
        "URL-encoded": urllib.parse.quote(secret, safe="").encode(),
        "URL-encoded, path": urllib.parse.quote(secret).encode(),
        "hexadecimal": secret.encode().hex().encode(),
        "JSON": json.dumps(secret).encode()[1:-1],
    }
    for shift in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            text = encode(b"\0" * shift + secret.encode())
            found[f"{name}, shifted by {shift}"] = text[4 if shift else 0 : len(text) - 4]
    return found


SECRETS = {f"{what}, {form}": data for what in (KEY, CLIENT_SECRET) for form, data in forms(what).items()}


def search(where: str, data: bytes) -> list[str]:
    return [f"{where}: {form}" for form, wanted in SECRETS.items() if wanted in data]


def test_the_search_for_secrets_finds_every_form_of_one() -> None:
    for secret in (KEY, CLIENT_SECRET):
        basic = base64.b64encode(f"{CLIENT}:{secret}".encode())
        for text in (
            f"key={secret};".encode(),
            secret[::-1].encode(),
            urllib.parse.quote(secret, safe="").encode(),
            basic,
            base64.b64encode(secret.encode()),
        ):
            assert search("there", b"before" + text + b"after")
    assert not search("nowhere", b"a harmless text")


@pytest.fixture(scope="module")
def cluster(module_cluster: Cluster) -> Cluster:
    return module_cluster


@pytest.fixture(scope="module")
def tenants(cluster: Cluster) -> dict[str, Tenant]:
    made = {
        name: unlimited(seed=90 + n, scenario=Morning(emails=8, periods=1)) for n, name in enumerate(("key", "oauth"))
    }
    made["key"].access_key = KEY
    made["oauth"].client_id, made["oauth"].client_secret = CLIENT, CLIENT_SECRET
    return made


@pytest.fixture(scope="module")
def said(cluster: Cluster, tenants: dict[str, Tenant]) -> dict[str, bytes]:
    """Everything that the commands and services say, through a whole life with failures of every class."""
    out: dict[str, bytes] = {}
    port, numbers = free_port(), count()

    def command(*arguments: str, given: str = "", **env: str) -> str:
        done = run(cluster, *arguments, given=given, **(VERBOSE | env))
        out[f"{next(numbers)} {' '.join(arguments)}"] = (done.stdout + done.stderr).encode()
        return done.stdout

    def keep(service: Service) -> None:
        out[f"service {service.log.name}"] = service.log.read_bytes()

    pair = f"{CLIENT}:{CLIENT_SECRET}"
    given = {"key": ((), KEY), "oauth": (("--oauth",), pair)}

    def onboard(name: str) -> None:
        tenant, (flags, secret) = tenants[name], given[name]
        host = cluster.serve(tenant)
        file = cluster.folder / f"{name}.yaml"
        file.write_text(f"id: {name}\nhost: {host}\nperiod: 1s\nstart: 2026-03-02T08:00:00Z\napi_share: 1.0\n")
        command(
            "connector", "init", "--id", name, "--host", host, "--yes", "--out", f"{name}2.yaml", *flags, given=secret
        )
        for variant, value in (
            ("unauthorized", "GS_APIG_2401"),
            ("redirect", "https://evil.example/"),
            ("html_page", 502),
        ):
            tenant.set_variant(variant, value)
            command("connector", "add", str(file), *flags, "--json", given=secret)
            tenant.clear_variants()
        command("connector", "add", str(file), *flags, given=secret + "x")
        command("connector", "add", str(file), *flags, given=f"two {secret} words")
        command("connector", "add", str(file), *flags, given=secret, KMS_KEY_ID="no-such-key")
        command("connector", "add", str(file), *flags, given=secret, AWS_ENDPOINT_URL_KMS=f"http://{LOOPBACK}:9")
        command("connector", "add", str(file), *flags, given=secret)
        command("connector", "rotate-key", name, *flags, given=secret + "x")
        command("connector", "rotate-key", name, *flags, given=secret)
        for arguments in (
            ("check", name, "--json"),
            ("preview", name, "--json"),
            ("show", name, "--json"),
            ("export",),
        ):
            command("connector", *arguments)

    with ThreadPoolExecutor() as beside:  # a command is a process, and most of its time it waits
        list(beside.map(onboard, tenants))
    with contextlib.ExitStack() as running:
        services = list(_services(cluster, port))
        for service in services:
            running.callback(keep, service)
            running.callback(service.end)
        until("conversations come", lambda: len(cluster.conversations()) >= 16)
        for variant, value in SEEN_BY_SERVICES:
            before = {name: tenant.calls()["total"] for name, tenant in tenants.items()}
            for tenant in tenants.values():
                tenant.set_variant(variant, value)
                tenant.create()
                tenant.advance(60)
            until(f"it met {variant}", lambda: all(t.calls()["total"] > before[n] for n, t in tenants.items()))  # noqa: B023
            command("status", "--json")
        for tenant in tenants.values():
            tenant.clear_variants()
        for at in (port, port + 1):
            with contextlib.suppress(httpx.HTTPError):
                out[f"metrics {at}"] = httpx.get(f"http://{LOOPBACK}:{at}/metrics", trust_env=False).content
        command("dead-letters", "list")
        producer, enricher = services
        enricher.stop()  # it leaves its group: another one can join at once
        written = len(cluster.records(cluster.settings.raw_topic))
        for tenant in tenants.values():
            tenant.create()
            tenant.advance(60)
        until("there is something to enrich", lambda: len(cluster.records(cluster.settings.raw_topic)) > written)
        producer.stop()
    with ThreadPoolExecutor() as beside:
        for arguments, data in zip(FAULTY, beside.map(partial(_at_a_terminal, cluster), FAULTY), strict=True):
            out[f"{arguments[0]} at a terminal"] = data
    command("connector", "pause", "key")
    for kind, secret in (("access_key", KEY), ("oauth_client", pair)):
        out[f"crash with {kind}, without it"] = _crash(cluster, kind, "")
        out[f"crash with {kind}"] = _crash(cluster, kind, secret)
    command("connector", "remove", "oauth", "--yes")
    return out


def _services(cluster: Cluster, port: int) -> Iterator[Service]:
    yield cluster.producer(**VERBOSE, FRAME_GAINSIGHT_METRICS_PORT=str(port))
    yield cluster.enricher(**VERBOSE, FRAME_GAINSIGHT_METRICS_PORT=str(port + 1))


def _at_a_terminal(cluster: Cluster, arguments: tuple[str, ...]) -> bytes:
    """What a service says at a terminal when its client has a fault, up to a while after that, or to its end."""
    asks = {"FRAME_GAINSIGHT_ENTITY_TTL_HOURS": "0.0001"}  # for what is known already, too
    env = cluster.env | VERBOSE | asks | {"TERM": "xterm"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-c", FAULT, *arguments),
        env=env,
        cwd=cluster.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said, ends_at = b"", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < ends_at:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                said += os.read(ours, 65536)
            except OSError:  # it has ended
                break
            if b"a fault inside the client" in said:  # its cancelled tasks follow
                ends_at = min(ends_at, time.monotonic() + AFTER_A_FAULT)
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(ours)
    assert b"a fault inside the client" in said, said.decode(errors="replace")
    return said


def _crash(cluster: Cluster, kind: str, secret: str) -> bytes:
    done = subprocess.run(
        (sys.executable, "-c", CRASH, kind),
        input=secret.encode(),
        env=cluster.env,
        cwd=cluster.folder,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == FAILED and b"and so it ends" in done.stderr
    return done.stdout + done.stderr


def test_output_logs_and_metrics_never_have_a_secret(
    cluster: Cluster, tenants: dict[str, Tenant], said: dict[str, bytes]
) -> None:
    assert sum(map(len, said.values())) > 50_000, "the logs are to be verbose"
    assert any(name.startswith("metrics") and b"frame_gainsight" in data for name, data in said.items())
    found = [hit for where, data in said.items() for hit in search(where, data)]
    assert not found
    tokens = [token.encode() for token in tenants["oauth"].granted_tokens()]
    assert tokens
    assert not [where for where, data in said.items() for token in tokens if token in data]
    assert not [where for where, data in said.items() if b'"Plaintext"' in data], "a data key of KMS's"


def test_no_topic_and_no_file_has_a_secret(cluster: Cluster, said: dict[str, bytes]) -> None:
    records = 0
    for spec in topics.specs(cluster.settings):
        for place, data in _bytes_of(cluster, spec.name):
            records += 1
            assert not search(place, data)
    assert records > 50
    files = [path for path in cluster.folder.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [hit for path in files for hit in search(path.name, path.read_bytes())]


def _bytes_of(cluster: Cluster, topic: str) -> Iterator[tuple[str, bytes]]:
    """Every record's bytes, those of transactions that were aborted too."""
    settings = cluster.settings
    consumer = reader(settings, **{"isolation.level": "read_uncommitted"})
    try:
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(settings.partitions)])
        unread = set(range(settings.partitions))
        while unread:
            for message in consumer.consume(500, 0.5):
                error = message.error()
                if error is None:
                    headers: Any = message.headers() or ()
                    parts = [message.key(), message.value(), *(v for _, v in headers)]
                    yield (
                        f"{topic} {message.partition()}:{message.offset()}",
                        b"\0".join(p if isinstance(p, bytes) else str(p or "").encode() for p in parts),
                    )
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition() or 0)
    finally:
        consumer.close()


def test_no_other_host_was_sent_a_secret(cluster: Cluster, said: dict[str, bytes]) -> None:
    """A redirect is told, and not followed: the host that it names does not exist, and would have been looked up."""
    assert any(b"redirects elsewhere, and the key is not sent there" in data for data in said.values())
    assert not [where for where, data in said.items() if b"evil.example" in data and b"cannot be reached" in data]
