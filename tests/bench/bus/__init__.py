"""The bus beside FastStream's defaults, on one broker and one PostgreSQL, in one run."""
