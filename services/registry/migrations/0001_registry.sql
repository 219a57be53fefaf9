-- Names are what people see and may change; rows refer to one another by UUID.

create table registered_model (
    id uuid primary key,
    project text not null,
    name text not null,
    description text,
    last_version int not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);
create unique index registered_model_name on registered_model (project, name)
    where deleted_at is null;

create table model_tag (
    project text not null,
    model_id uuid not null references registered_model,
    key text not null,
    value text not null,
    primary key (model_id, key)
);

-- digest null: nobody has seen the files; such a version is never promoted.
create table model_version (
    id uuid primary key,
    project text not null,
    model_id uuid not null references registered_model,
    version int not null,
    source text not null,
    location text,
    run_id text,
    logged_model_id text,
    run_link text,
    description text,
    stage text not null default 'None',
    digest text,
    idempotency_key text,
    event_id uuid not null,
    correlation_id text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    unique (model_id, version),
    unique (id, model_id)
);
create unique index model_version_idempotency on model_version (model_id, idempotency_key)
    where idempotency_key is not null;
create index model_version_run on model_version (project, run_id);
create index model_version_updated on model_version (project, updated_at desc);

create table version_tag (
    project text not null,
    version_id uuid not null references model_version,
    key text not null,
    value text not null,
    primary key (version_id, key)
);
create index version_tag_key on version_tag (project, key);

create table version_file (
    project text not null,
    version_id uuid not null references model_version,
    path text not null,
    uri text not null,
    digest text not null,
    size bigint not null,
    primary key (version_id, path)
);

create table alias (
    project text not null,
    model_id uuid not null references registered_model,
    alias text not null,
    version_id uuid not null,
    primary key (model_id, alias),
    foreign key (version_id, model_id) references model_version (id, model_id)
);
create index alias_version on alias (version_id);

create table promotion_policy (
    project text not null,
    model text not null,
    auto_promote boolean not null,
    margins jsonb not null,
    min_rows int not null,
    updated_by text not null,
    updated_at timestamptz not null,
    primary key (project, model)
);

-- What was asked, on what evidence, against which champion and under which policy.
create table promotion_request (
    id uuid primary key,
    project text not null,
    model_id uuid not null references registered_model,
    version_id uuid not null,
    alias text not null,
    state text not null check (state in ('waiting', 'approved', 'rejected', 'superseded')),
    automatic boolean not null,
    requested_by text not null,
    comment text not null,
    reason text not null,
    digest text not null,
    expected_champion int,
    evidence jsonb,
    policy jsonb not null,
    decided_by text,
    requested_at timestamptz not null,
    decided_at timestamptz,
    requested_event_id uuid not null,
    decided_event_id uuid,
    promoted_event_id uuid,
    correlation_id text not null,
    unique (id, requested_by),
    foreign key (version_id, model_id) references model_version (id, model_id)
);
create unique index promotion_request_waiting on promotion_request (version_id, alias)
    where state = 'waiting';
create index promotion_request_model on promotion_request (model_id, requested_at);

-- Nobody approves what they asked for: the pair is bound to the request by the foreign key.
create table promotion_approval (
    id uuid primary key,
    project text not null,
    request_id uuid not null,
    requested_by text not null,
    approver text not null,
    verdict text not null check (verdict in ('approve', 'reject')),
    comment text not null,
    decided_at timestamptz not null,
    foreign key (request_id, requested_by) references promotion_request (id, requested_by),
    constraint approver_is_not_requester check (
        verdict = 'reject' or lower(btrim(approver)) <> lower(btrim(requested_by))
    )
);
create unique index promotion_approval_once on promotion_approval (request_id);

-- Append-only: who held an alias at any time.
create table alias_event (
    seq bigint generated always as identity primary key,
    project text not null,
    model_id uuid not null references registered_model,
    alias text not null,
    version_id uuid,
    previous_version_id uuid,
    cause text not null check (cause in ('promotion', 'rollback', 'set', 'delete')),
    actor text not null,
    request_id uuid references promotion_request,
    event_id uuid,
    correlation_id text not null,
    moved_at timestamptz not null,
    foreign key (version_id, model_id) references model_version (id, model_id),
    check (alias <> 'champion' or cause in ('promotion', 'rollback')),
    check (cause <> 'promotion' or request_id is not null)
);
create index alias_event_history on alias_event (model_id, alias, seq);

create function forbid_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger alias_event_append_only before update or delete or truncate on alias_event
    for each statement execute function forbid_change();
create trigger promotion_approval_append_only before update or delete or truncate
    on promotion_approval for each statement execute function forbid_change();

-- A request becomes approved by its gate, or by an approval that somebody else gave; what was
-- decided stays decided.
create function guard_promotion() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.state <> 'waiting' and new.state <> old.state then
        raise exception 'promotion request % is % already', old.id, old.state
            using errcode = 'check_violation';
    end if;
    if new.state = 'approved' and not new.automatic and not exists (
        select from promotion_approval where request_id = new.id and verdict = 'approve'
    ) then
        raise exception 'promotion request % has no approval', new.id
            using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger promotion_request_guard before insert or update on promotion_request
    for each row execute function guard_promotion();

create table dataset (
    id uuid primary key,
    project text not null,
    name text not null,
    origin text not null check (origin in ('upload', 'labelled')),
    model text,
    last_version int not null default 0,
    last_ordinal int not null default 0,
    created_at timestamptz not null,
    unique (project, name)
);

create table dataset_segment (
    project text not null,
    dataset_id uuid not null references dataset,
    ordinal int not null,
    uri text not null,
    digest text not null,
    size bigint not null,
    rows bigint not null,
    first_event_time timestamptz not null,
    last_event_time timestamptz not null,
    observed_through timestamptz not null,
    primary key (dataset_id, ordinal),
    unique (dataset_id, digest),
    unique (dataset_id, uri)
);

-- A version lists its segments as inclusive spans of ordinals: [first, last, first, last, ...].
create table dataset_version (
    project text not null,
    dataset_id uuid not null references dataset,
    version int not null,
    digest text not null,
    parent_version int,
    rows bigint not null,
    segments int not null,
    spans int[] not null,
    labelled_through timestamptz,
    event_id uuid not null,
    correlation_id text not null,
    created_at timestamptz not null,
    primary key (dataset_id, version)
);
create index dataset_version_digest on dataset_version (dataset_id, digest);

create table lineage_node (
    project text not null,
    kind text not null,
    id text not null,
    detail jsonb not null,
    event_id text,
    correlation_id text,
    at timestamptz,
    primary key (project, kind, id)
);

create table lineage_edge (
    project text not null,
    source_kind text not null,
    source_id text not null,
    relation text not null,
    target_kind text not null,
    target_id text not null,
    event_id text not null,
    correlation_id text not null,
    at timestamptz not null,
    primary key (project, source_kind, source_id, relation, target_kind, target_id)
);
create index lineage_edge_target on lineage_edge (project, target_kind, target_id);
