"""The optional connection to the Kubernetes API. Nothing else needs it: without one, or without permission, all the rest goes on.

How it is asked: ``account`` (who we are), ``client`` (one request at a time; the only importer of httpx2), ``patience`` (with a
server that fails), ``api`` (what both sides agree on). Events: ``happenings`` (what is worth telling), ``backlog`` (what waits, and
how often something is told), ``recorder`` (the objects), ``reporter`` (all of it). ``condition``: the node's condition. ``facts``:
the node's labels and versions. ``connection``: what of all that is switched on.
"""
