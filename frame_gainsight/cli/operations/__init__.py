"""The work behind some commands, without any output: reading, judging, purging."""
