"""A plugin package in a process of its own, which can be killed and replaced: ``isolation: process``.

Code that holds the interpreter lock, eats memory or crashes hurts only that process. It inherits no descriptor of ours but its
own connection, imports no grpc, and dies with us. ``package`` is what the supervisor holds, ``process`` one life of the other
side, ``child`` what runs there, ``frames`` what is said in between.
"""

from supervisor.isolation.package import IsolatedPackage, Limits

__all__ = ["IsolatedPackage", "Limits"]
