"""Removing what the supervisor leaves on a node, once no container needs it.

Stopping removes nothing that containers may need: the kubelet starts them again from its own notes, without asking. ``proof`` says
when a file may go (pure), ``readings`` asks who holds what, ``files`` knows what is the supervisor's own, ``work`` does it all.
"""
