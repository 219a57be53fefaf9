-- What of a model's answers is logged; the newest version of a model holds.

create table log_rules (
    project text not null,
    model text not null,
    version integer not null,
    rules jsonb not null,
    changed_by text not null,
    changed_at timestamptz not null default now(),
    primary key (project, model, version)
);
