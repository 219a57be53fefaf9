"""What services are built from; users import `headrace.client` and `headrace.pipelines`."""
