"""Random accesses to every port and every guest-physical range of a whole board."""
