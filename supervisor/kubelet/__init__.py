"""Everything that speaks with the kubelet. The only package that imports grpc and protobuf."""
