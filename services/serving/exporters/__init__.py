"""The prediction log for others: KServe's logger over HTTP, files on S3. A process of its own.

Each exporter is a consumer group of its own. What it does comes before the transaction that
advances its offset, so everything is exported at least once, and nothing is skipped.
"""
