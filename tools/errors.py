"""The errors of the development tools, each one sentence for the person at the terminal."""

from __future__ import annotations


class ToolError(Exception):
    """Something the person at the terminal can put right; the message says how."""
