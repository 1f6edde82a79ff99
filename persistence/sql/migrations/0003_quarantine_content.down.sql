-- Notes without content again; the bytes that were kept are gone.

drop index quarantined_updates_crashes;
drop index quarantined_updates_by_age;
drop index quarantined_updates_by_actor;
alter table quarantined_updates drop column replayed_at, drop column unkept, drop column content;
comment on table quarantined_updates is 'Updates set aside: who sent them and why, never their content.';
