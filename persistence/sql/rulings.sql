-- name: freeze
-- Take no more edits of a document; a row comes back if it was not frozen before.
insert into document_freezes (document_id, operator) values ($1, $2)
on conflict (document_id) do nothing
returning document_id

-- name: unfreeze
-- Take edits of a document again; a row comes back if it was frozen.
delete from document_freezes where document_id = $1 returning document_id

-- name: keep_out
-- Give somebody no seat in a document for that many seconds from now, whatever was said before.
insert into document_exclusions (document_id, subject, until, operator)
values ($1, $2, now() + make_interval(secs => $3), $4)
on conflict (document_id, subject) do update
  set until = excluded.until, operator = excluded.operator, created_at = now()

-- name: drop_ended
-- Forget the exclusions whose time is up.
delete from document_exclusions where until <= now()

-- name: in_force
-- What is laid on some documents now: a row without a subject is a freeze, the others are exclusions.
select document_id, null as subject, null as left_s
from document_freezes where document_id = any($1::uuid[])
union all
select document_id, subject, extract(epoch from until - now())::float8
from document_exclusions where document_id = any($1::uuid[]) and until > now()
