"""A fake `libnvidia-ml.so.1` in C, driven by a test, and the node around it."""

from tests.plugins.nvidia_gpu.fakenvml.handle import FakeNvml
from tests.plugins.nvidia_gpu.fakenvml.layouts import Gpu, Layout, Mig

__all__ = ["FakeNvml", "Gpu", "Layout", "Mig"]
