"""``pynvml``, imported without a module that it imports and never uses.

That one, ``ctypes.util``, brings in archives, temporary files and ``subprocess``: a twelfth of the memory of a process that asks NVML.
"""

import sys
from types import ModuleType

_UNUSED = "ctypes.util"

if _UNUSED not in sys.modules:
    _stand_in = ModuleType(_UNUSED)
    _stand_in.find_library = None  # type: ignore[attr-defined]  # the one name that is asked for, and never called
    sys.modules[_UNUSED] = _stand_in
    try:
        import pynvml
    finally:
        del sys.modules[_UNUSED]  # whoever wants it gets the real one
else:
    import pynvml

__all__ = ["pynvml"]
