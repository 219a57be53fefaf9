-- Pipelines, their runs and steps; workers; retrain policies and drift epochs.

create sequence fence_number;

-- The newest plan of each pipeline, as registered by a worker that has its code.
create table pipeline (
    project text not null,
    name text not null,
    digest text not null,
    plan jsonb not null,
    registered_at timestamptz not null default now(),
    primary key (project, name)
);

-- `session` is one life of a worker process: a newer one takes the place of an older one.
create table worker (
    project text not null,
    name text not null,
    session text not null,
    environment jsonb not null default '{}',
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    primary key (project, name)
);

-- `plan` is null while no worker has registered the pipeline; `last_event_id` is the event
-- that the run's next one is caused by.
create table pipeline_run (
    project text not null,
    id text not null,
    pipeline text not null,
    plan jsonb,
    plan_digest text,
    model text,
    parameters jsonb not null,
    trigger jsonb not null default '{}',
    requested_by text not null,
    drift_epoch text,
    seed bigint not null,
    state text not null check (state in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    error text,
    correlation_id text not null,
    last_event_id text,
    datasets jsonb not null default '[]',
    environments jsonb not null default '[]',
    promotions jsonb not null default '[]',
    manifest_digest text,
    manifest_uri text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    primary key (project, id)
);
create index pipeline_run_recent on pipeline_run (project, created_at desc);
create index pipeline_run_unplanned on pipeline_run (project, pipeline) where plan is null;

-- `waiting_for` counts upstream steps that have not succeeded yet.
create table task (
    project text not null,
    run_id text not null,
    step text not null,
    position int not null,
    state text not null
        check (state in ('pending', 'ready', 'running', 'succeeded', 'failed', 'skipped')),
    waiting_for int not null,
    attempt int not null default 0,
    failures int not null default 0,
    losses int not null default 0,
    fence bigint,
    worker text,
    ready_at timestamptz,
    lease_until timestamptz,
    deadline timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    outputs jsonb not null default '{}',
    error text,
    primary key (project, run_id, step),
    foreign key (project, run_id) references pipeline_run (project, id)
);
create index task_ready on task (ready_at) where state = 'ready';
create index task_running on task (lease_until) where state = 'running';

-- Every attempt, also those that were lost or fenced; outcome is null while one runs.
create table task_attempt (
    project text not null,
    fence bigint not null,
    run_id text not null,
    step text not null,
    attempt int not null,
    worker text not null,
    session text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    outcome text check (outcome in ('succeeded', 'failed', 'lost', 'timed_out', 'released', 'cancelled')),
    error text,
    primary key (project, fence),
    foreign key (project, run_id, step) references task (project, run_id, step)
);
create index task_attempt_of_task on task_attempt (project, run_id, step);

create table retrain_policy (
    project text not null,
    model text not null,
    pipeline text not null,
    parameters jsonb not null default '{}',
    cooldown_days double precision not null check (cooldown_days >= 0),
    enabled boolean not null default true,
    updated_at timestamptz not null default now(),
    primary key (project, model)
);

-- What is known of a model; its row is locked while its policy decides.
create table model_state (
    project text not null,
    model text not null,
    champion_version int,
    champions int[] not null default '{}',
    primary key (project, model)
);

-- One row for each alarm that opened an epoch.
create table drift_epoch (
    project text not null,
    drift_event_id text not null,
    drift_epoch text not null,
    model text not null,
    version int not null,
    alarm jsonb not null,
    detected_at timestamptz not null,
    dataset text not null,
    labelled_through timestamptz not null,
    correlation_id text not null,
    phase text not null check (phase in ('awaiting_data', 'running', 'closed')),
    pipeline_run_id text,
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    outcome text check (outcome in ('promoted', 'rejected', 'failed', 'superseded', 'no_promotion')),
    reason text,
    primary key (project, drift_event_id)
);
create unique index drift_epoch_one_open on drift_epoch (project, model) where phase <> 'closed';
create index drift_epoch_waiting on drift_epoch (project, dataset) where phase = 'awaiting_data';
create unique index drift_epoch_of_run on drift_epoch (project, pipeline_run_id);

create table retrain_decision (
    project text not null,
    drift_event_id text not null,
    position int not null,
    model text not null,
    drift_epoch text not null,
    outcome text not null check (outcome in ('started', 'awaiting_data', 'suppressed')),
    reason text not null,
    pipeline_run_id text,
    detected_at timestamptz not null,
    decided_at timestamptz not null default now(),
    primary key (project, drift_event_id, position)
);

-- The newest version of each dataset, so that an alarm that comes after its data does not wait.
create table dataset_state (
    project text not null,
    dataset text not null,
    version int not null,
    digest text not null,
    labelled_through timestamptz,
    primary key (project, dataset)
);
