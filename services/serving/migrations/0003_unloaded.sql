-- Models that a call took out of memory. They stay out, over restarts and promotions, until a call
-- loads them again. Without a row a model is where its events have it.

create table unloaded (
    project text not null,
    model text not null,
    unloaded_at timestamptz not null default now(),
    primary key (project, model)
);
