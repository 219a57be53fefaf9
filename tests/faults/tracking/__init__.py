"""What was logged over HTTP and Kafka while service, database and broker are killed."""
