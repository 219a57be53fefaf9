-- Outcomes are added up as soon as both halves are here; the rows stay for a while, so that what is
-- told again does not count again. Experiments.

alter table outcome add column counted boolean not null default false;
drop index outcome_of_table;
create index outcome_countable on outcome (project, model, table_version)
    where not counted and label is not null and table_version is not null;

-- What the arms of a table did: number, sum and sum of squares of the values of their outcomes.
create table outcome_total (
    project text not null,
    model text not null,
    table_version integer not null,
    arm text not null,
    count bigint not null,
    total double precision not null,
    squares double precision not null,
    primary key (project, model, table_version, arm)
);

-- Experiments; at most one runs for a model, and a name is used once.
create table experiment (
    experiment_id text primary key,
    project text not null,
    model text not null,
    name text not null,
    plan jsonb not null,
    state text not null check (state in ('running', 'concluded', 'stopped')),
    champion integer not null,
    table_version integer not null,
    author text not null,
    reason text not null,
    correlation_id text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    ended_by text,
    winner text,
    proven boolean not null default false,
    outcome text,
    unique (project, model, name)
);
create unique index experiment_running on experiment (project, model) where state = 'running';
create index experiment_of_model on experiment (project, model, started_at desc);
