"""A program that touches hardware, in a process that can be killed and replaced: a child of ours, or one of the helper's.

``border`` is what a plugin holds of it, with ``stream`` for events. ``life`` is one life of a program as its asker sees it, one
in a ``succession`` that ``backoff`` slows down. Its process is held by ``process`` as a parent, with what it prints in
``output``, or by ``remote`` through ``helper``, the server of the helper container. ``programs`` is the closed list of what can
be run, ``child`` what a program itself calls, ``framing`` and ``messages`` what is said in between.
"""
