"""What lies on the node for the units of one look."""

from msgspec import Struct

from supervisor import CdiState
from supervisor_infiniband.publishing.device_info import DeviceInfoState


class Published(Struct, frozen=True):
    """Empty where nothing is published, as of simulated devices."""

    vendor: str = ""
    """Of our CDI devices."""
    cdi: CdiState = CdiState()
    device_info: DeviceInfoState = DeviceInfoState()
    notices: tuple[str, ...] = ()
    """What is not as it was asked for, in sentences."""
