"""The data plane: one process that answers the Open Inference Protocol and never sees Kafka."""
