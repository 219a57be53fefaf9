-- A dataset may begin by an upload and be continued by the platform: each version says whose it is.

alter table dataset_version
    add column origin text not null default 'upload' check (origin in ('upload', 'labelled')),
    add column model text;
update dataset_version v set origin = d.origin, model = d.model
    from dataset d where d.id = v.dataset_id;
alter table dataset_version alter column origin drop default;
