"""Container Device Interface: specs of our own, by which a container runtime itself gives a container its GPUs.

``libraries`` (which files of the driver there are) → ``spec`` (pure: what the specs say, under the names of ``names``) →
``keeping`` (whose files they are in, and what those must not go on saying).
"""
