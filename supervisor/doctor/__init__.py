"""Preflight: is this node as the supervisor, its plugins and their containers need it? Each finding comes with its cure.

``site`` says what is examined; each other module but ``rounds`` holds the checks of one group, ``rounds`` the list of them. A check is
a function from the site to findings: it reads what is there, under the configured roots, in bounds, and changes nothing. What a check
raises, or that it hangs, is a finding of its own.
"""
