"""A program that touches hardware, in a process that can be killed and replaced: a child of ours, or one of the helper's.

``life`` is one life of a program as its asker sees it, ``process`` the child and its end, ``child`` what the program itself calls,
``framing`` and ``messages`` what is said in between.
"""
