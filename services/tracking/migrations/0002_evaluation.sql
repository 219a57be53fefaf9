-- How language-model applications are judged: scorers of an experiment, each with its versions.

create table scorer (
    scorer_id uuid primary key,
    project text not null,
    experiment_id bigint not null references experiment,
    name text not null,
    last_version int not null default 0,
    unique (experiment_id, name)
);

create table scorer_version (
    scorer_id uuid not null references scorer on delete cascade,
    version int not null,
    serialized_scorer text not null,
    creation_time bigint not null,
    primary key (scorer_id, version)
);
