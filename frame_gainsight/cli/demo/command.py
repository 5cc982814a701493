"""`demo`: from a simulated tenant to conversations, on real parts, compared with what the tenant expects."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from frame_gainsight.cli.demo.manual_clock_producer import ManualClockProducer
from frame_gainsight.cli.demo.report import figures, pick_samples, render
from frame_gainsight.cli.demo.stack import Stack
from frame_gainsight.cli.demo.topic_watcher import TopicWatcher
from frame_gainsight.cli.demo.verify import verify
from frame_gainsight.cli.output import FAILED, answers, notes, print_json, waiting
from frame_gainsight.connectors import Definition, KmsVault, Registry, Secret, register
from frame_gainsight.connectors.definition.yaml_file import parse_yaml
from frame_gainsight.gainsight import HostPolicy
from frame_gainsight.runtime import BrokerError, SystemClock
from frame_gainsight.runtime.logging import set_up_logging
from schemas import Codec, codec_for

if TYPE_CHECKING:
    from frame_gainsight.sandbox import Tenant

STALL_SECONDS = 60.0  # without any conversation arriving


def demo(
    emails: Annotated[int, typer.Option(min=1, help="Emails of the morning.")] = 1000,
    periods: Annotated[int, typer.Option(min=1, help="Polling periods that they come in.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed is another tenant.")] = 1,
    variant: Annotated[
        list[str] | None, typer.Option(help="How the tenant answers, name=value; see the sandbox's variants.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep everything running afterwards.")] = False,
) -> None:
    """Poll a morning of a simulated tenant's emails, enrich them, and check every conversation against the truth."""
    from frame_gainsight.sandbox import Clock, Live, Morning, Tenant, UnknownVariantError

    set_up_logging("ERROR")
    morning = Morning(emails=emails, periods=periods)
    quiet_end = morning.end_ms + morning.period * 1000
    scenario: list[Any] = [morning] + ([Live(start=_iso(quiet_end))] if serve else [])
    tenant = Tenant(seed=seed, scenario=scenario, clock=Clock.stopped(morning.start_ms))
    for setting in variant or ():
        name, _, value = setting.partition("=")
        try:
            tenant.set_variant(name, yaml.safe_load(value) if value else True)
        except (UnknownVariantError, ValueError) as error:
            raise typer.BadParameter(str(error), param_hint="--variant") from None
    with Stack(tenant) as stack:
        codec = codec_for(stack.settings.schema_registry_url)
        definition = _definition(stack, tenant, codec)
        with ManualClockProducer(stack.settings, codec) as polling:
            with TopicWatcher(stack.settings, codec, definition.id) as watch:
                _morning(stack, tenant, polling, watch, morning.period, periods)
                verdict = verify(tenant.truth(), definition, watch.conversations, watch.seen)
                numbers = figures(watch, verdict, tenant.calls(), periods + 1)
            if as_json:
                print_json(numbers)
            else:
                answers.print(render(numbers, verdict, pick_samples(watch.conversations)))
            if serve:
                _serve(stack, tenant, polling, morning.start_ms)
    if not verdict.right:
        raise typer.Exit(FAILED)


def _definition(stack: Stack, tenant: Tenant, codec: Codec) -> Definition:
    """Registers the demo's connector, as `connector add` does."""
    text = resources.files("frame_gainsight.cli.demo").joinpath("demo.yaml").read_text()
    definition = parse_yaml(text.replace("host: http://127.0.0.1", f"host: {stack.sandbox.url}"), "demo.yaml")
    registry, vault = Registry(stack.settings, codec), KmsVault(stack.settings.kms_key_id)
    key, hosts = Secret.access_key(tenant.access_key), HostPolicy(stack.settings.allowed_hosts)
    with waiting("Registering the connector…"):
        result = asyncio.run(register(registry, vault, SystemClock(), definition, key, hosts=hosts))
    if result.connector is None:
        failed = "; ".join(f"{f.need}: {f.evidence}" for f in result.findings if f.blocks)
        raise BrokerError(f"The demo's connector could not be registered: {failed}")
    tenant.reset_calls()
    return result.connector.definition


def _morning(
    stack: Stack, tenant: Tenant, polling: ManualClockProducer, watch: TopicWatcher, period: int, periods: int
) -> None:
    """Polls period by period, and once more when all is quiet; ends when everything written has been enriched."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes, transient=True) as progress:
        polls = progress.add_task("Periods polled", total=periods + 1)
        raw = progress.add_task("Activities in Kafka", total=None)
        out = progress.add_task("Conversations published", total=None)
        written = 0
        for _ in range(periods + 1):
            tenant.advance(period)
            written += polling.step(period)
            progress.update(polls, advance=1)
            _wait(stack, watch, written, progress, raw, out)
    if watch.raw != written:
        raise BrokerError(f"The producer reports that it wrote {written} records, but {watch.raw} are in the topic.")


def _wait(stack: Stack, watch: TopicWatcher, written: int, progress: Progress, raw: Any, out: Any) -> None:
    """Waits until as many records came out as went in, or none has come for a while (the report shows what lacks)."""
    last, since = -1, time.monotonic()
    while watch.outputs + len(watch.dead_letters) < written or watch.raw < written:
        stack.check()
        watch.wait(0.2)
        progress.update(raw, completed=watch.raw, total=written)
        progress.update(out, completed=watch.outputs, total=written)
        if watch.outputs != last:
            last, since = watch.outputs, time.monotonic()
        elif time.monotonic() - since > STALL_SECONDS:
            return
    progress.update(raw, completed=watch.raw, total=written)
    progress.update(out, completed=watch.outputs, total=written)


def _serve(stack: Stack, tenant: Tenant, polling: ManualClockProducer, start: int) -> None:
    """Lets the tenant's clock run, polls on, and shows how to join from another terminal; until it is stopped.

    Args:
        start: milliseconds, of the first email.
    """
    tenant.clock.run(1.0)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    notes.print("\nEverything keeps running; new emails keep coming. In another terminal:", markup=False)
    for name, value in stack.environment.items():
        notes.print(f"  export {name}={value}", markup=False, soft_wrap=True)
    topic = stack.settings.conversations_topic
    tail = f"./dev run frame-gainsight tail {topic} --from-beginning --json --exit-at-end"
    notes.print(f"  {tail}", markup=False, soft_wrap=True)
    notes.print("  ./dev run frame-gainsight status", markup=False)
    notes.print(
        "\nThe tenant, for connector init. Its secrets are invented: they open only this one.",
        markup=False,
    )
    notes.print(f"  address: {stack.sandbox.url}", markup=False)
    notes.print(f"  API access key: {tenant.access_key}", markup=False)
    notes.print(f"  OAuth client (--oauth): {tenant.client_id}:{tenant.client_secret}", markup=False, soft_wrap=True)
    now = tenant.now() // 1000 * 1000
    notes.print(
        f"Its clock is simulated too and shows {_iso(now)} now: status and check show how long ago that is. A "
        "connector of yours reads what is there with this line in its file:",
        markup=False,
    )
    notes.print(f"  start: {_iso(start)}", markup=False)
    notes.print("Ctrl-C stops everything.", markup=False)
    while not stop.wait(0.5):
        stack.check()
        polling.check()


def _iso(milliseconds: int) -> str:
    from frame_gainsight.gainsight import format_date

    return format_date(milliseconds)
