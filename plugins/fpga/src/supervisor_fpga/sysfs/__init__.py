"""The border to the kernel: a process that reads the host's sysfs, where some reads ask the hardware and may never return."""
