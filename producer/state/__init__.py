"""What the producer keeps in Kafka: checkpoints, seen versions, raw records, backfills, failures."""
