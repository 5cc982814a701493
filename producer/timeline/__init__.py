"""Reading the timeline completely: windows, keyset pages, lateness."""
