-- What operators have laid on documents, and what they did.

create table document_freezes (
  document_id uuid primary key references documents (id) on delete cascade,
  operator text not null,
  created_at timestamptz not null default now()
);
comment on table document_freezes is 'Documents that nobody may edit until their row is gone.';

create table document_exclusions (
  document_id uuid not null references documents (id) on delete cascade,
  subject text not null,
  until timestamptz not null,
  operator text not null,
  created_at timestamptz not null default now(),
  primary key (document_id, subject)
);
comment on table document_exclusions is 'Who gets no seat in a document until a time; rows of the past mean nothing.';
create index document_exclusions_by_end on document_exclusions (until);

create table admin_actions (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  operator text not null,
  action text not null,
  target text not null,
  detail jsonb not null,
  task text not null,
  outcome text,
  result jsonb,
  settled_at timestamptz
);
comment on table admin_actions is 'Every act of an operator, written before it takes effect. Rows are never dropped.';
comment on column admin_actions.outcome is 'How it ended; null while it is under way, and for ever when its task died.';
create index admin_actions_by_target on admin_actions (target, id);
create index admin_actions_by_operator on admin_actions (operator, id);

-- In the database, so that neither a bug nor a hand in a hurry rewrites what was done.
create function keep_admin_actions() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.outcome is null
    and (new.id, new.at, new.operator, new.action, new.target, new.detail, new.task)
      is not distinct from (old.id, old.at, old.operator, old.action, old.target, old.detail, old.task) then
    return new;
  end if;
  raise exception 'admin_actions: rows stay as they are, but for an outcome that is added once'
    using errcode = 'restrict_violation';
end
$$;
comment on function keep_admin_actions is 'Lets an outcome be added once, and nothing else be changed or dropped.';

create trigger admin_actions_kept before update or delete on admin_actions
  for each row execute function keep_admin_actions();
