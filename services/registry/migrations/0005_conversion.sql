-- What became of a version's conversion to ONNX: derived files, beside those of the version itself,
-- which never change. The first that is told counts.

create table version_conversion (
    version_id uuid primary key references model_version,
    project text not null,
    outcome text not null check (outcome in ('converted', 'native')),
    reason text not null,
    files jsonb not null,
    max_difference double precision,
    recorded_rows integer not null,
    sampled_rows integer not null,
    event_id text not null,
    finished_at timestamptz not null
);
