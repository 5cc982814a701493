"""dlt: its REST client and offset paginator, its incremental cursor, and a custom destination that writes to Kafka.

`python dlt_timeline.py JOB`, in the peers' environment; JOB is JSON. The pipeline's state stays in the job's folder, so
that a second run goes on where the first one stopped.
"""

import os
import sys

import orjson

JOB = orjson.loads(sys.argv[1])
os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DLT_DATA_DIR": JOB["folder"],
    # Whole pages stay together, and both cores may work.
    "DATA_WRITER__BUFFER_MAX_ITEMS": "5000",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "25000",
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "25000",
    "NORMALIZE__WORKERS": "2",
    "SOURCES__DATA_WRITER__FILE_MAX_ITEMS": "25000",
}

import dlt  # noqa: E402 - it reads its settings as it is imported
from confluent_kafka import Producer  # noqa: E402
from dlt.sources.helpers.rest_client import RESTClient  # noqa: E402
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator  # noqa: E402

_producer: Producer | None = None


def _kafka() -> Producer:
    global _producer
    if _producer is None:
        _producer = Producer(
            {
                "bootstrap.servers": JOB["bootstrap"],
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "lz4",
                "linger.ms": 5,
                "batch.size": 1024 * 1024,
                "message.max.bytes": 8 * 1024 * 1024,
                "queue.buffering.max.kbytes": 1024 * 1024,
            }
        )
    return _producer


@dlt.destination(batch_size=5000, name="kafka", max_parallel_load_jobs=2)
def kafka(items, table):
    """A batch of rows; a failed delivery fails the load."""
    producer, faults = _kafka(), []
    for item in items:
        producer.produce(
            JOB["topic"],
            key=item["Gsid"],
            value=orjson.dumps(item, default=_iso),
            on_delivery=lambda error, _: faults.append(error) if error else None,
        )
    if producer.flush(60) or faults:
        raise RuntimeError(f"Kafka did not take {len(items)} rows: {faults[:1]}")


def _iso(value):
    return value.isoformat().replace("+00:00", "Z")


@dlt.resource(name="activities", primary_key="Gsid", write_disposition="append")
def activities(modified=dlt.sources.incremental("LastModifiedDate", initial_value=JOB["start"])):  # noqa: B008
    query = orjson.loads(JOB["query"])
    query["where"]["conditions"] = query["where"]["conditions"][:1]
    query["where"]["expression"] = "A"
    query["where"]["conditions"][0]["value"] = [modified.last_value]
    headers = {"accesskey": JOB["key"], "accept-encoding": "gzip"}
    client = RESTClient(JOB["host"], headers=headers, data_selector="data.records")
    paginator = OffsetPaginator(
        limit=query["limit"], total_path=None, offset_body_path="offset", limit_body_path="limit"
    )
    yield from client.paginate(JOB["path"], method="POST", json=query, paginator=paginator)


if __name__ == "__main__":
    pipeline = dlt.pipeline("timeline", destination=kafka, dataset_name="timeline", pipelines_dir=JOB["folder"])
    pipeline.run(activities)
