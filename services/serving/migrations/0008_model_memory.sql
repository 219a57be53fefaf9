-- What a model takes in a worker's memory, by the key of its contents; measured when it is proven.

create table model_memory (
    project text not null,
    contents text not null,
    bytes bigint not null check (bytes >= 0),
    measured_at timestamptz not null default now(),
    primary key (project, contents)
);
