"""What asks NVML. It runs in a process of its own; the plugin imports only ``messages`` from here.

Kept light: the process costs what it imports.
"""
