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

-- Evaluation datasets: records are told apart by their inputs. `json` keeps what was sent as it was.
create table evaluation_dataset (
    dataset_id text primary key,
    project text not null,
    name text not null,
    digest text not null,
    schema json,
    created_time bigint not null,
    last_update_time bigint not null,
    created_by text,
    last_updated_by text
);
create index evaluation_dataset_newest on evaluation_dataset (project, created_time desc);

create table evaluation_dataset_tag (
    dataset_id text not null references evaluation_dataset on delete cascade,
    key text not null,
    value text not null,
    primary key (dataset_id, key)
);

create table evaluation_dataset_experiment (
    dataset_id text not null references evaluation_dataset on delete cascade,
    experiment_id bigint not null references experiment,
    primary key (dataset_id, experiment_id)
);
create index evaluation_dataset_of_experiment on evaluation_dataset_experiment (experiment_id);

create table evaluation_record (
    record_id text primary key,
    place bigint generated always as identity,
    dataset_id text not null references evaluation_dataset on delete cascade,
    input_hash text not null,
    inputs json not null,
    outputs json,
    expectations json,
    tags json,
    source json,
    created_time bigint not null,
    last_update_time bigint not null,
    created_by text,
    last_updated_by text,
    unique (dataset_id, input_hash)
);
create index evaluation_record_order on evaluation_record (dataset_id, place);
