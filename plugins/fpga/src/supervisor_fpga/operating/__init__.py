"""The border to the hardware: a process that opens and writes FPGAs, in the helper where there is one. It believes nobody."""
