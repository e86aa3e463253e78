"""The board: one file per device, each with its registers as data."""
