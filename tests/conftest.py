"""What every test folder may use."""

pytest_plugins = [
    "tests.fixtures.kafka",
    "tests.fixtures.registry",
    "tests.fixtures.settings",
    "tests.fixtures.cluster",
    "tests.fixtures.storm",
]
