-- Conversions to ONNX: what is to be converted, and what is known of those that were.

-- One row for each version that may be converted; `attempts` counts those that did not end.
create table conversion (
    number bigint generated always as identity primary key,
    project text not null,
    model text not null,
    version integer not null,
    state text not null default 'waiting' check (state in ('waiting', 'converted', 'native')),
    attempts integer not null default 0,
    digest text not null,
    files jsonb not null,
    cause_event text not null unique,
    correlation_id text not null,
    reason text not null default '',
    requested_at timestamptz not null default now(),
    finished_at timestamptz
);
create index conversion_waiting on conversion (project, number) where state = 'waiting';

-- Files derived from those of the version.
alter table known_version add column converted jsonb not null default '[]';
alter table deployment add column converted jsonb not null default '[]';
-- Why the model itself is served, where there is a conversion that is not fit to be.
alter table deployment add column native_because text;
-- The promotion in force, where another event asked for the deployment.
alter table deployment add column promoted_event text;
