"""Where a guest spends its time, seen from outside: samples, the kernel's symbols, tables."""
