"""What people and machines see of the supervisor. Everything here subscribes to events or reads frozen values; nothing decides.

``board`` (the picture of now), ``metrics`` (the only importer of prometheus_client), ``log``, ``http`` (the only importer of h11),
``pages`` (what each path answers).
"""
