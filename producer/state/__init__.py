"""The producer's state in Kafka: checkpoints, seen versions, raw records, backfills, failures."""
