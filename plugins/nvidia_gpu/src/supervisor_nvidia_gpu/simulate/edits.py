"""What a container gets with a simulated GPU.

It must start under any runtime, so nothing may be asked for that is not there. The device nodes are `/dev/null` under the names
that real ones would have: it is on every host, harmless to open, and yet shows inside a container which GPUs it was given, by the
kubelet's and the runtime's own work. Programs that ask such a node for a GPU are refused (ENOTTY) as by a machine without one.
"""

from supervisor import ContainerEdits, DeviceNode
from supervisor_nvidia_gpu.report import Gpu, MigDevice
from supervisor_nvidia_gpu.simulate.layouts import NODE

GIVEN = "SIMULATED_NVIDIA_VISIBLE_DEVICES"
"""The environment variable that tells the UUIDs."""

_CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_CAPS_OF_GPU, _CAPS_OF_INSTANCE, _FIRST_CAP = 135, 9, 3
"""As the driver counts in ``/proc/driver/nvidia-caps/mig-minors``: 15 GPU instances, each with itself and 8 compute instances."""


def edits(gpu: Gpu, mig: MigDevice | None = None) -> ContainerEdits:
    """For a whole GPU, or for one of its MIG devices.

    ``NVIDIA_VISIBLE_DEVICES`` is ``void``: NVIDIA's runtime, where it is installed, would refuse a container with a UUID that it
    does not know, and give one without the variable whatever the image asks for.
    """
    paths = [*_CONTROL, f"/dev/nvidia{gpu.index if gpu.minor is None else gpu.minor}"]
    if mig is not None:
        instance = _FIRST_CAP + _CAPS_OF_GPU * (gpu.minor or 0) + _CAPS_OF_INSTANCE * mig.gpu_instance
        caps = (instance, instance + 1 + mig.compute_instance)
        paths += [f"/dev/nvidia-caps/nvidia-cap{number}" for number in caps]
    return ContainerEdits(
        device_nodes=tuple(DeviceNode(NODE, path) for path in paths),
        envs={"NVIDIA_VISIBLE_DEVICES": "void", GIVEN: gpu.uuid if mig is None else mig.uuid},
    )
