"""Prepares a checkout: host packages, the virtual environment in .venv, the compiled core.

Runs on the host's Python before anything is installed, so it uses the standard library only.
Every step is skipped when its inputs have not changed since it last succeeded.
"""
