"""Putting a machine together and running it, in this process.

`spec` is what a user may say, `builder` the only place that composes, `life` one power-on to the
next, `machine` the whole as its user holds it.
"""
