"""Faults planted in copies of the translator, to see that the suite catches every one."""
