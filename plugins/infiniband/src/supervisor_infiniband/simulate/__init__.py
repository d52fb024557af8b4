"""RDMA devices that are not there: machines described, written as a tree of sysfs, and a script of what happens to them."""
