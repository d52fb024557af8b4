"""Container Device Interface: specs of our own, by which a container runtime itself gives a container its GPUs.

``root`` (where the driver's files are) → ``libraries`` (which of them there are) → ``spec`` (pure: what the specs say, in the words
of ``schema``, under the names of ``names``) → ``files`` (written, verified, tidied up).
"""
