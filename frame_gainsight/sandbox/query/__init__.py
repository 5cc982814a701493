"""The simulated tenant's query engine, and the forms that it answers in."""
