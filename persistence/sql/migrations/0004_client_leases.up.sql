-- Who may write under which Yjs client id in a document.

create table client_leases (
  document_id uuid not null references documents (id) on delete cascade,
  client_id bigint not null,
  subject text not null,
  created_at timestamptz not null default now(),
  primary key (document_id, client_id)
);
comment on table client_leases is 'The subject that first wrote as a Yjs client; written with the journal rows, never changed.';
