-- Documents, the journal of their updates, their checkpoints, and who may open them.

create function touch_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end
$$;
comment on function touch_updated_at is 'Keeps updated_at true, whatever an UPDATE says (R117).';

create table documents (
  id uuid primary key default gen_random_uuid(),
  name text not null unique check (char_length(name) between 1 and 128),
  epoch integer not null default 0 check (epoch >= 0),
  word_count integer check (word_count >= 0),
  character_count integer check (character_count >= 0),
  content_key text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on column documents.name is 'The public name, as in /ws/{document}.';
comment on column documents.epoch is 'Grows when the history is replaced; offline copies of an older epoch are refused.';
comment on column documents.content_key is 'Object key of the last rendered content.';

create trigger documents_touch before update on documents
  for each row execute function touch_updated_at();

create table document_updates (
  id bigint generated always as identity primary key,
  document_id uuid not null references documents (id) on delete cascade,
  update bytea not null,
  actor_id text not null,
  client_ids bigint[] not null,
  reach bytea not null,
  created_at timestamptz not null default now(),
  folded_into bigint
);
comment on table document_updates is 'The journal: a set of Yjs v1 updates exactly as received; order means nothing.';
comment on column document_updates.reach is 'Yjs v1 state vector; a document that covers it holds all of the update.';
comment on column document_updates.folded_into is 'The checkpoint that holds this row; null: none does yet.';

-- Loading a document and folding it read exactly these rows, whatever else the table holds.
create index document_updates_unfolded on document_updates (document_id, id) where folded_into is null;
-- Trimming reads these, and they are gone soon after they appear.
create index document_updates_folded on document_updates (document_id, folded_into) where folded_into is not null;
-- The table is inserted into and trimmed all day: vacuum at 2 % of it, not at the default 20 %.
alter table document_updates set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

create table checkpoints (
  id bigint generated always as identity primary key,
  document_id uuid not null references documents (id) on delete cascade,
  generation integer not null check (generation > 0),
  key text not null,
  sha256 bytea not null check (octet_length(sha256) = 32),
  size_bytes bigint not null check (size_bytes >= 0),
  state_vector bytea not null,
  created_at timestamptz not null default now(),
  unique (document_id, generation)
);
comment on table checkpoints is 'Folded state in object storage. The unique pair fences two tasks that fold at once.';

create table document_grants (
  document text not null,
  subject text not null,
  role text not null check (role in ('owner', 'editor', 'commenter', 'viewer')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (document, subject)
);
comment on table document_grants is 'What a subject may do with a document, by its public name; no row: nothing.';

create trigger document_grants_touch before update on document_grants
  for each row execute function touch_updated_at();

create table quarantined_updates (
  id bigint generated always as identity primary key,
  document_id uuid not null,
  actor_id text not null,
  reason text not null,
  sha256 bytea not null check (octet_length(sha256) = 32),
  size_bytes bigint not null check (size_bytes >= 0),
  created_at timestamptz not null default now()
);
-- No foreign key: what was refused because its document is gone must still leave a trace.
comment on table quarantined_updates is 'Updates set aside: who sent them and why, never their content.';
create index quarantined_updates_by_document on quarantined_updates (document_id, created_at);
