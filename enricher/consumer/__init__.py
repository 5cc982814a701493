"""The consuming edge: lanes, windows, offset gaps and transactions; Faust in one module alone."""
