"""Everything that speaks with the kubelet. The only package that imports grpc and protobuf.

Read it in this order: ``sockets`` (our files in the kubelet's directory), ``wire`` (the thread that owns all of gRPC), ``servicer``
(one resource's answers), ``levels`` (what the wire thread tells), ``registration`` (the pure state machine), ``registrar`` (the task
that runs it), ``podresources`` and ``checkpoint`` (who holds which device), ``questions`` (to sockets of others, for ``doctor``). ``simulator`` is a
kubelet of its own.
"""

import os

# Both must be set before grpc is imported: nothing here forks, and INFO lines about closing connections help nobody.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
