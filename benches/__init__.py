"""Benchmarks: the same small programs natively, under Wardian and under its peers.

A benchmark is read by a person; nothing here is a test, and no time is ever asserted.
"""
