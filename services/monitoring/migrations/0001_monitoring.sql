-- Times are microseconds since the epoch (event time), days are days since the epoch.

create table monitored_model (
    model_id integer generated always as identity primary key,
    project text not null,
    model text not null,
    predictions_through_us bigint,
    labels_through_us bigint,
    -- Rows in succession that were too far away to move the watermark, and the latest of them.
    predictions_strays integer not null default 0,
    predictions_stray_us bigint not null default 0,
    labels_strays integer not null default 0,
    labels_stray_us bigint not null default 0,
    -- Wall clock, only to notice that a stream fell silent.
    predictions_arrived_at timestamptz,
    labels_arrived_at timestamptz,
    last_closed_day integer,
    labelled_through_us bigint,
    predictions bigint not null default 0,
    predictions_late bigint not null default 0,
    predictions_repeated bigint not null default 0,
    predictions_refused bigint not null default 0,
    predictions_dropped bigint not null default 0,
    labels bigint not null default 0,
    labels_late bigint not null default 0,
    labels_repeated bigint not null default 0,
    labels_refused bigint not null default 0,
    labels_joined bigint not null default 0,
    labels_pending bigint not null default 0,
    labels_unmatched bigint not null default 0,
    segment_rows bigint not null default 0,
    unique (project, model)
);

-- One micro-batch as it was logged: PredictionLogged, protobuf.
create table prediction_batch (
    batch_id bigint generated always as identity primary key,
    model_id integer not null references monitored_model,
    version bigint not null,
    last_day integer not null,
    -- Rows that are new and in time for the statistics of their day: one bit a row
    -- (numpy.packbits), and the days they fall on.
    counted bytea not null,
    days integer[] not null,
    payload bytea not null
);
alter table prediction_batch alter column payload set storage external;
create index prediction_batch_age on prediction_batch (model_id, last_day);

-- Where each prediction lies: a row of a micro-batch.
create table prediction (
    model_id integer not null,
    prediction_id text collate "C" not null,
    batch_id bigint not null,
    row_number integer not null,
    open_day integer not null,
    primary key (model_id, prediction_id)
);
create index prediction_in_batch on prediction (batch_id);

-- Every label that was later than the one known before it. `seen_day`: the first day that the
-- label stream had not closed when it came; `due_day`: the first day whose segment it may go to;
-- batch, row and segment_day are null while its prediction is not known.
create table label (
    model_id integer not null,
    prediction_id text collate "C" not null,
    observed_at_us bigint not null,
    label double precision not null,
    seen_day integer not null,
    due_day integer not null,
    batch_id bigint,
    row_number integer,
    segment_day integer,
    primary key (model_id, prediction_id, observed_at_us)
);
create index label_in_segment on label (model_id, segment_day);
create index label_pending on label (model_id, due_day) where segment_day is null;

create table closed_day (
    model_id integer not null references monitored_model,
    version bigint not null,
    day integer not null,
    predictions bigint not null,
    labelled bigint not null,
    auc double precision,
    log_loss double precision,
    positive_rate double precision,
    mean_score double precision,
    closed_at_us bigint not null,
    -- Whether the version made at least half of the model's predictions of the day.
    leads boolean not null,
    -- DayStatistics under `schema`; without features where the version has no training profile.
    schema jsonb not null,
    statistics bytea not null,
    primary key (model_id, day, version)
);

create table segment (
    model_id integer not null references monitored_model,
    day integer not null,
    uri text not null,
    digest text not null,
    size bigint not null,
    row_count bigint not null,
    first_event_us bigint not null,
    last_event_us bigint not null,
    observed_through_us bigint not null,
    primary key (model_id, day, digest)
);

-- The version that answers, by the last ModelDeployed.
create table deployment (
    model_id integer primary key references monitored_model,
    version bigint not null
);

-- The version's baseline and the state of its detectors.
create table monitor (
    model_id integer not null references monitored_model,
    version bigint not null,
    active boolean not null,
    -- Which features the version is profiled by, from its training profile.
    schema jsonb not null,
    state bytea not null,
    fed_through_day integer,
    primary key (model_id, version)
);
create unique index monitor_active on monitor (model_id) where active;

create table alert (
    alert_id text primary key,
    model_id integer not null references monitored_model,
    version bigint,
    kind text not null,
    severity text not null,
    title text not null,
    detected_at_us bigint not null,
    evidence jsonb,
    drift_epoch text,
    correlation_id text,
    resolved_at_us bigint,
    reason text
);
create index alert_open on alert (model_id) where resolved_at_us is null;
