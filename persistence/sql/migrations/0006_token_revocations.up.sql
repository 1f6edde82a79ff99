-- Somebody's tokens can be made void before they expire.

create table token_revocations (
  subject text primary key,
  revoked_before timestamptz not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on table token_revocations is 'Whose tokens are void although they have not expired.';
comment on column token_revocations.revoked_before is 'Tokens issued before it are refused everywhere; it never moves back.';

create trigger token_revocations_touch before update on token_revocations
  for each row execute function touch_updated_at();
