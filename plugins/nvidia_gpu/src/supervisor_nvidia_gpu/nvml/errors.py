"""What NVML's error codes mean, in sentences for people.

``pynvml``'s exceptions can be neither hashed nor compared with anything else, so they are turned into their codes where they come up.
"""

from supervisor_nvidia_gpu.nvml.binding import pynvml

MEANINGS = {
    pynvml.NVML_ERROR_UNINITIALIZED: "NVML was shut down",
    pynvml.NVML_ERROR_NO_PERMISSION: "this process may not open the driver's device nodes",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded, or /dev/nvidiactl cannot be opened here",
    pynvml.NVML_ERROR_IRQ_ISSUE: "the driver gets no interrupts from the GPU",
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "the NVML library does not go by its usual name",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "the driver is too old for nvidia-ml-py",
    pynvml.NVML_ERROR_CORRUPTED_INFOROM: "the GPU's infoROM is corrupt",
    pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU is lost: it has fallen off the bus or does not answer",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU needs a reset",
    pynvml.NVML_ERROR_OPERATING_SYSTEM: "the operating system refused it",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVML library and the loaded driver are of different versions",
    pynvml.NVML_ERROR_MEMORY: "there is not enough memory",
    pynvml.NVML_ERROR_UNKNOWN: "the driver reports an unknown error",
}

OF_THE_LIBRARY = (
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
)
"""Codes that speak of no GPU: nothing works any more, and only a new process heals it."""

OF_THE_GPU = (
    pynvml.NVML_ERROR_IRQ_ISSUE,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
)
"""Codes that condemn the GPU whatever was asked, unlike "not supported"."""


class Unusable(Exception):
    """NVML as a whole does not work in this process; the text says why, for people."""


def meaning(code: int) -> str:
    """A sentence without its end."""
    return MEANINGS.get(code) or f"{pynvml.NVMLError(code)!s} (NVML error {code})"


def check(code: int) -> None:
    """Raise ``Unusable`` for a code that speaks of the whole library."""
    if code in OF_THE_LIBRARY:
        raise Unusable(meaning(code))
