"""What people and machines see of the supervisor. Everything here subscribes to events or reads frozen values; nothing decides.

``board`` (the picture of now), ``metrics`` (the only importer of prometheus_client), ``log``, ``http`` (the only importer of h11; ``exchange``
is what it and the ``pages`` say to each other, ``guard`` and ``tls`` who may listen), ``pages`` (what each path answers).
"""
