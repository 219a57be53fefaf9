-- What serving was told to do, and which versions answer.

-- One row for each event that asks for something: `warm` (PromotionRequested: prove the version and
-- have it in memory) or `deploy` (ModelPromoted: let it answer). Done in the order of `number`.
create table deployment (
    number bigint generated always as identity primary key,
    project text not null,
    model text not null,
    version integer not null,
    kind text not null check (kind in ('warm', 'deploy')),
    -- flipping: it is champion in the table below, and not yet confirmed by every worker.
    state text not null default 'open'
        check (state in ('open', 'flipping', 'done', 'failed', 'dropped')),
    digest text not null,
    files jsonb not null,
    cause_event text not null unique,
    correlation_id text not null,
    traceparent text,
    previous_version integer,
    requested_at timestamptz not null default now(),
    finished_at timestamptz,
    load_ms double precision,
    swap_ms double precision,
    reason text,
    deployed_event text,
    first_prediction_id text,
    first_answer_at timestamptz
);
create index deployment_waiting on deployment (project, model, number)
    where state in ('open', 'flipping');
create index deployment_of_model on deployment (project, model, number desc);

-- The version that answers for a model, and the one before it, kept loaded for a rollback.
create table champion (
    project text not null,
    model text not null,
    deployment bigint not null references deployment,
    pinned bigint references deployment,
    primary key (project, model)
);
