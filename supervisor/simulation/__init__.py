"""For plugins that can simulate hardware: a tree of files that stands for a machine's sysfs, where it lies, and a script that plays on it."""
