"""Asking NVML about one GPU: what it cannot tell is ``None``, and what condemns it is kept."""

from collections.abc import Callable
from typing import TypeVar

from supervisor_nvidia_gpu.nvml.binding import pynvml
from supervisor_nvidia_gpu.nvml.errors import OF_THE_GPU, check, meaning

Value = TypeVar("Value")


class Asking:
    """The questions of one look to one GPU."""

    def __init__(self) -> None:
        self.problem = ""
        """Why the GPU cannot be used: the first answer that condemns it."""
        self.code = 0
        """NVML's of the last answer."""

    def __call__(self, function: Callable[..., Value], *arguments: object) -> Value | None:
        """The answer, ``None`` where there is none; after one that condemned the GPU it is asked no more, since a lost one may take
        seconds for each answer. Raises ``Unusable``.
        """
        if self.problem:
            return None
        try:
            answer = function(*arguments)
        except pynvml.NVMLError as error:
            self.code = int(error.value)
            check(self.code)
            if self.code in OF_THE_GPU:
                self.problem = meaning(self.code)
            return None
        except UnicodeDecodeError:  # a broken infoROM may hold any bytes
            self.code = pynvml.NVML_ERROR_UNKNOWN
            return None
        self.code = pynvml.NVML_SUCCESS
        return answer

    def must(self, function: Callable[..., Value], *arguments: object) -> Value | None:
        """As a call, but without an answer the GPU is of no use."""
        answer = self(function, *arguments)
        if answer is None and not self.problem:
            self.problem = meaning(self.code)
        return answer
