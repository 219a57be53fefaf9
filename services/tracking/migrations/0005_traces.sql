-- Traces, their spans and what was said of them. Times are milliseconds since the epoch.

-- The spans of one group commit: OTLP requests one after another, compressed.
create table span_block (
    block_id bigint generated always as identity primary key,
    project text not null default 'default',
    requests bigint[] not null,  -- digests of the requests: one that comes again is known by it
    body bytea not null
);
alter table span_block alter column body set storage external;

create table trace (
    trace_id text collate "C" primary key,
    project text not null default 'default',
    experiment_id bigint not null,
    request_time bigint not null,
    execution_duration bigint,
    state text not null
        check (state in ('STATE_UNSPECIFIED', 'OK', 'ERROR', 'IN_PROGRESS')),
    name text,
    client_request_id text,
    request_preview text,
    response_preview text,
    metadata jsonb not null default '{}',
    tags jsonb not null default '{}',
    blocks bigint[] not null default '{}',  -- where its spans are, in the order in which they came
    finalized boolean not null default false  -- the client said what it is; spans change it no more
);
create index trace_by_experiment on trace (experiment_id, request_time desc, trace_id);

create table trace_assessment (
    trace_id text collate "C" not null references trace on delete cascade,
    assessment_id text not null,
    project text not null default 'default',
    kind text not null check (kind in ('feedback', 'expectation', 'issue')),
    name text not null,
    source_type text not null,
    source_id text,
    span_id text,
    rationale text,
    metadata jsonb,
    value jsonb not null,
    error jsonb,
    overrides text,
    valid boolean not null default true,
    create_time bigint not null,
    last_update_time bigint not null,
    primary key (trace_id, assessment_id)
);

create index trace_assessment_by_name on trace_assessment (name, kind);

create table trace_run (
    run_id text not null references run,
    trace_id text collate "C" not null references trace on delete cascade,
    project text not null default 'default',
    primary key (run_id, trace_id)
);
create index trace_run_by_trace on trace_run (trace_id);

create table trace_prompt (
    trace_id text collate "C" not null references trace on delete cascade,
    name text not null,
    version text not null,
    project text not null default 'default',
    primary key (trace_id, name, version)
);
create index trace_prompt_by_prompt on trace_prompt (name, version);
