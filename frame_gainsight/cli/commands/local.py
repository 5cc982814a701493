"""`kafka` and `sandbox`: a real broker and a simulated tenant, on this machine."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from frame_gainsight.cli.demo.stack import start_kafka
from frame_gainsight.cli.output import FAILED, answers, error, notes
from frame_gainsight.runtime.allowed_hosts import LOOPBACK, VARIABLE


def kafka(
    port: Annotated[int | None, typer.Option(help="Port to listen on; a free one without it.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder to keep the data in; a temporary one without it.")] = None,
) -> None:
    """Run a real Apache Kafka on this machine until stopped: no Docker, no Java needed."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    broker = start_kafka(port, data)
    try:
        answers.print(f"Apache Kafka runs at [bold]{broker.bootstrap}[/]; its log is {broker.log_file}")
        answers.print(f"  export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}")
        answers.print("Ctrl-C stops it.")
        while not stop.wait(0.5):
            if not broker.running:
                notes.print(f"[bold red]Kafka ended by itself.[/] Its log says why: {broker.log_file}")
                raise typer.Exit(FAILED)
    finally:
        broker.stop()


def sandbox(
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="The same seed gives the same tenant.")] = 1,
    per_minute: Annotated[float, typer.Option(help="New emails a minute.")] = 6.0,
    emails: Annotated[
        Path | None, typer.Option(exists=True, help="An mbox, or a folder of .eml files: activities of real messages.")
    ] = None,
    limits: Annotated[bool, typer.Option(help="Hold callers to 100 calls a minute and 50,000 a day.")] = True,
    implementation: Annotated[
        str, typer.Option(help="How this customer has set up Gainsight: relationships or plain.")
    ] = "relationships",
) -> None:
    """Run a simulated Gainsight tenant on this machine until stopped."""
    from frame_gainsight.sandbox import TENANT_PROFILES, Limits, Live, Mail, Tenant, apply_profile, serve

    if implementation not in TENANT_PROFILES:
        raise typer.BadParameter(f"it is one of: {', '.join(TENANT_PROFILES)}", param_hint="--implementation")

    scenario = Mail(emails) if emails is not None else Live(per_minute=per_minute)
    tenant = Tenant(seed=seed, scenario=scenario, limits=Limits() if limits else Limits(None, None))
    apply_profile(tenant, implementation)

    def ready(url: str) -> None:
        answers.print(f"A simulated Gainsight tenant runs at [bold]{url}[/]")
        answers.print(f"  API access key: {tenant.access_key}   (invented, like the next: they open only this tenant)")
        answers.print(f"  OAuth client (--oauth): {tenant.client_id}:{tenant.client_secret}")
        answers.print(f"  what a perfect connector must have produced: {url}/_sandbox/truth")
        answers.print("What connects to it has to be allowed to, where it runs:")
        answers.print(f"  export {VARIABLE}={LOOPBACK}")
        answers.print("Ctrl-C stops it.")

    try:
        serve(tenant, host, port, on_ready=ready)
    except OSError as failure:
        error(f"{host}:{port} cannot be listened on ({failure.strerror}). Name another: --port N")
        raise typer.Exit(FAILED) from None
