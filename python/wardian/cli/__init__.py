"""The `wardian` command."""
