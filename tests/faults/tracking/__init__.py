"""Points, params and summaries while the service, the database and the broker are killed."""
