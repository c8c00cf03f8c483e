"""`make ramp`: prime tasks at 100, 110, ... 250 a second, 30 s each, about 84,000 in all."""
