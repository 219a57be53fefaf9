"""What services are built from. Users and steps import `headrace.client` and `headrace.pipelines`."""
