-- Folded rows are kept for a time; what was dropped of a document is known from a table, not guessed.

create table journal_floors (
  document_id uuid primary key references documents (id) on delete cascade,
  generation bigint not null check (generation > 0)
);
comment on table journal_floors is 'Rows folded into generations up to this one may be gone; no row: none is.';

-- Before this migration the rows that all kept generations held were dropped whenever an older one was forgotten.
insert into journal_floors (document_id, generation)
select document_id, min(generation) from checkpoints group by document_id having min(generation) > 1;

-- A trigger, so that the floor rises whoever drops rows: our job, a server of the last release, an operator by hand.
create function raise_journal_floors() returns trigger language plpgsql as $$
begin
  insert into journal_floors (document_id, generation)
  select gone.document_id, max(gone.folded_into)
  from gone
  join documents on documents.id = gone.document_id
  where gone.folded_into is not null
  group by gone.document_id
  order by gone.document_id
  on conflict (document_id) do update
    set generation = greatest(journal_floors.generation, excluded.generation);
  return null;
end
$$;
comment on function raise_journal_floors is 'Notes up to which generation the journal has lost folded rows.';

create trigger document_updates_dropped after delete on document_updates
  referencing old table as gone
  for each statement execute function raise_journal_floors();

-- Dropping what is older than the window, and looking at a document as it was, read folded rows by age.
create index document_updates_by_age on document_updates (document_id, created_at) where folded_into is not null;
