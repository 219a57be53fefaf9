-- Versions in the registry that were made from a logged model.
create table logged_model_registration (
    model_id text not null references logged_model,
    name text not null,
    version bigint not null,
    primary key (model_id, name, version)
);
