"""Files on the node that say of our devices what others need: ``cdi`` for container runtimes, ``device_info`` for Multus and CNI plugins.

Both are written by the owner of the node alone, stay as long as a container may need them, and are removed by the command ``cleanup``.
"""

from supervisor_infiniband.publishing.published import Published
from supervisor_infiniband.publishing.publisher import Publisher

__all__ = ["Published", "Publisher"]
