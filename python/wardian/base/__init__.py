"""The ground floor: errors, units, clocks and register maps. It imports nothing above itself."""
