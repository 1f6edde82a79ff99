-- What was refused is kept with its bytes, within bounds, and can be settled by an operator.

alter table quarantined_updates
  add column content bytea,
  add column unkept integer not null default 0 check (unkept >= 0),
  add column replayed_at timestamptz;
comment on table quarantined_updates is 'Updates set aside: who sent them, why, and their bytes where they were kept.';
comment on column quarantined_updates.content is 'The Yjs v1 bytes as received; null beyond the bounds and once replayed.';
comment on column quarantined_updates.unkept is 'Later refusals that have no row of their own, because there were too many.';
comment on column quarantined_updates.replayed_at is 'When an operator put the content into the document after all.';

create index quarantined_updates_by_actor on quarantined_updates (actor_id);
create index quarantined_updates_by_age on quarantined_updates (created_at);
-- Every admission of a writer and every task, each second, reads exactly these rows.
create index quarantined_updates_crashes on quarantined_updates (id)
  where reason in ('crash', 'killed') and replayed_at is null;
