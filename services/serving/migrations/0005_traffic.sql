-- How a model's traffic is split, and what was known of the versions that may get some.

-- Files of every version that the registry told of, so that any of them can be served.
create table known_version (
    project text not null,
    model text not null,
    version integer not null,
    digest text not null,
    files jsonb not null,
    primary key (project, model, version)
);

-- Every table that was set; `version` rises by one for each model. At most one is in force.
create table traffic_table (
    project text not null,
    model text not null,
    version integer not null,
    state text not null check (state in ('open', 'in_force', 'ended', 'failed')),
    plan jsonb not null,
    salt text not null,
    intervals jsonb not null,
    -- The champion that it was made beside: another one ends it.
    champion integer not null,
    cause text not null,
    author text not null,
    reason text not null,
    correlation_id text not null,
    owner text,
    created_at timestamptz not null,
    in_force_at timestamptz,
    failure text,
    primary key (project, model, version)
);
create unique index traffic_in_force on traffic_table (project, model) where state = 'in_force';
create index traffic_waiting on traffic_table (project, model) where state = 'open';

-- Rollouts that drive themselves; at most one runs for a model.
create table rollout (
    rollout_id text primary key,
    project text not null,
    model text not null,
    plan jsonb not null,
    state text not null check (state in ('running', 'promoting', 'promoted', 'aborted')),
    step integer not null,
    table_version integer not null,
    champion integer not null,
    author text not null,
    reason text not null,
    correlation_id text not null,
    started_at timestamptz not null,
    step_at timestamptz not null,
    decided_at timestamptz,
    outcome text
);
create unique index rollout_running on rollout (project, model)
    where state in ('running', 'promoting');
create index rollout_of_model on rollout (project, model, started_at desc);

-- Bandits; at most one runs for a model.
create table bandit (
    bandit_id text primary key,
    project text not null,
    model text not null,
    plan jsonb not null,
    running boolean not null,
    champion integer not null,
    first_table integer not null,
    table_version integer not null,
    judged bigint not null,
    author text not null,
    reason text not null,
    correlation_id text not null,
    started_at timestamptz not null,
    weighed_at timestamptz not null,
    outcome text
);
create unique index bandit_running on bandit (project, model) where running;
create index bandit_of_model on bandit (project, model, started_at desc);

-- Labelled predictions of a rollout, and rewarded ones of a bandit, put together from whichever half comes first.
create table outcome (
    project text not null,
    model text not null,
    prediction_id text not null,
    table_version integer,
    arm text,
    score double precision,
    label double precision,
    seen_at timestamptz not null default now(),
    primary key (project, model, prediction_id)
);
create index outcome_of_table on outcome (project, model, table_version);
create index outcome_age on outcome (seen_at);
