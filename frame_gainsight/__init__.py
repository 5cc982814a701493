"""Everything that the producer and the enricher share: the API client, Kafka, connectors, and the commands."""
