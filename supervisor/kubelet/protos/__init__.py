"""The kubelet's gRPC APIs as generated message classes, and the method paths under which they really travel.

Only field numbers and method paths are on the wire; message and package names are not (kubelet source,
``k8s.io/kubelet/pkg/apis``). ``make protos`` regenerates the ``*_pb2`` files; CI wants no difference.
"""

API_VERSION = "v1beta1"

REGISTRATION_SERVICE = "v1beta1.Registration"
DEVICE_PLUGIN_SERVICE = "v1beta1.DevicePlugin"
POD_RESOURCES_SERVICE = "v1.PodResourcesLister"

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The kubelet dials plugins with grpc-go's default receive limit; a longer list ends the stream for good."""
