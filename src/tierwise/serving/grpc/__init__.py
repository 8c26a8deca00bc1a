"""The Open Inference Protocol over gRPC (the extra ``grpc``)."""
