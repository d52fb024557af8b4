"""FPGAs that are not there: machines described as their kernels describe them, written as a tree of sysfs, and a script that plays on it."""
