"""Random instruction streams at ring 0: nothing a guest executes may bring the monitor down."""
