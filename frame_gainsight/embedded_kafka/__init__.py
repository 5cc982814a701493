"""A real Apache Kafka from locked packages, for the demo and the tests."""
