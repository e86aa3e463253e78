"""Guest assets: the distribution's kernel and busybox, and initial RAM disks built from them.

One module per kind of asset. The demo, the guest tests and the benchmark all use these, so
that a guest that fails in one of them can be started again from the other two.
"""
