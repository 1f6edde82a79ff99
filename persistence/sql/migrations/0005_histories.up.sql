-- A document's history may be replaced: nothing of an older epoch can be written any more.

alter table documents add constraint documents_epoch_key unique (id, epoch);

-- The fence: a row names the history it belongs to, and only the document's present one exists.
alter table document_updates add column epoch integer not null default 0;
alter table document_updates drop constraint document_updates_document_id_fkey;
alter table document_updates add constraint document_updates_history_fkey
  foreign key (document_id, epoch) references documents (id, epoch) on delete cascade;
comment on column document_updates.epoch is 'The history this update was written in: the document''s present one.';

alter table checkpoints add column epoch integer not null default 0;
comment on column checkpoints.epoch is 'The history this state belongs to; older ones are kept, to restore from.';

create table document_histories (
  document_id uuid not null references documents (id) on delete cascade,
  epoch integer not null check (epoch > 0),
  marker bigint not null,
  ever bytea not null,
  dead bytea not null,
  created_at timestamptz not null default now(),
  primary key (document_id, epoch)
);
comment on table document_histories is 'Each time a history was replaced: what is needed to know copies of the older ones.';
comment on column document_histories.marker is 'Yjs client id whose clock is the epoch, in every copy of the present history.';
comment on column document_histories.ever is 'Yjs v1 state vector: all that any older history held.';
comment on column document_histories.dead is 'Yjs v1 state vector: from which clock on the structs of a client are of an older history.';
