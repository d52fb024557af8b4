"""How a region is programmed: one small file for each way, behind one protocol. None is used unless the configuration names it."""
