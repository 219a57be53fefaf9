"""Points, params and summaries, over HTTP and Kafka, while the service, the database and the broker are killed."""
