"""Rules of the registry: names, sources, datasets, the gate, promotions, lineage. No I/O."""
