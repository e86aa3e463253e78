"""The boot loaders against damaged kernel files."""
