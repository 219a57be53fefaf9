-- Models that learn in the stream from predictions and labels.

-- What each one is told to do, and all that it has learned. Another plan begins another generation.
create table learner (
    project text not null,
    name text not null,
    model text not null,
    publish_as text not null,
    plan jsonb not null,
    settings jsonb not null,
    author text not null,
    configured_at timestamptz not null,
    generation integer not null,
    -- JSON kept as text: jsonb would not keep every number as it is.
    state text not null,
    -- The last label of each partition that was looked at.
    positions jsonb not null,
    -- The tensors of the model that is learned from, once a prediction told of them.
    inputs jsonb,
    learned bigint not null default 0,
    repeated bigint not null default 0,
    unjoined bigint not null default 0,
    unusable bigint not null default 0,
    expired bigint not null default 0,
    -- Why it stands still, and what it could not use of late.
    failure text,
    trouble text,
    snapshots integer not null default 0,
    snapshot_learned bigint not null default 0,
    snapshot_state text not null,
    snapshot_positions jsonb not null,
    snapshot_at timestamptz not null,
    primary key (project, name)
);
create index learner_of_model on learner (project, model);

-- Predictions whose label may come; `used` ones were learned from and are kept to know repeated
-- labels. `features` are little-endian doubles in the order of the plan.
create table learner_prediction (
    project text not null,
    learner text not null,
    generation integer not null,
    prediction_id text not null,
    features bytea not null,
    log_partition integer not null,
    log_offset bigint not null,
    seen_at timestamptz not null,
    used boolean not null default false,
    primary key (project, learner, generation, prediction_id),
    foreign key (project, learner) references learner on delete cascade
);
create index learner_prediction_age on learner_prediction (project, learner, seen_at);

-- Labels that were not looked at yet; `place` gives their order, within a partition that of the log.
create table learner_label (
    place bigint generated always as identity,
    project text not null,
    learner text not null,
    generation integer not null,
    prediction_id text not null,
    label double precision not null,
    label_partition integer not null,
    label_offset bigint not null,
    seen_at timestamptz not null,
    primary key (project, learner, generation, place),
    foreign key (project, learner) references learner on delete cascade
);

-- What was learned and is in no published snapshot yet.
create table learner_example (
    project text not null,
    learner text not null,
    generation integer not null,
    number bigint not null,
    prediction_id text not null,
    features bytea not null,
    label double precision not null,
    label_partition integer not null,
    label_offset bigint not null,
    log_partition integer not null,
    log_offset bigint not null,
    primary key (project, learner, generation, number),
    foreign key (project, learner) references learner on delete cascade
);

-- States on their way to the registry, and what became of them; states are dropped once there.
create table learner_snapshot (
    project text not null,
    learner text not null,
    generation integer not null,
    number integer not null,
    model text not null,
    publish_as text not null,
    features_from text not null,
    request_promotion boolean not null,
    plan jsonb not null,
    inputs jsonb not null,
    start_state text,
    state text,
    start_digest text not null,
    digest text not null,
    learned_before bigint not null,
    learned bigint not null,
    positions_before jsonb not null,
    positions jsonb not null,
    created_at timestamptz not null,
    version integer,
    published_at timestamptz,
    promotion text,
    primary key (project, learner, generation, number),
    foreign key (project, learner) references learner on delete cascade
);
create index learner_snapshot_waiting on learner_snapshot (project, learner)
    where published_at is null;
