"""Processing a lane's activities, and failures of that: parked activities, retries, circuit breaker, dead letters."""
