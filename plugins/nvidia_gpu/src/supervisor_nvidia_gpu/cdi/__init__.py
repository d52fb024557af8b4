"""Container Device Interface: specs of our own, by which a container runtime itself gives a container its GPUs.

``libraries`` (which files of the driver there are) → ``spec`` (pure: what the specs say, in the words of ``schema``, under the names
of ``names``) → ``files`` (written, verified, tidied up).
"""
