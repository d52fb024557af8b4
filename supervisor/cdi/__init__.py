"""Container Device Interface: files by which a container runtime itself gives a container its devices.

``schema`` (what a specification says, as values) → ``keeping`` (pure: what it goes on saying of devices that containers may hold)
→ ``files`` (written, verified, tidied up).
"""
