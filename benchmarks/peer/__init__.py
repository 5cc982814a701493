"""The peers, each a script for an environment of its own (`.venv-bench`): nothing of ours is imported there."""
