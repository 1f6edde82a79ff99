-- name: page
-- Rows without their content, newest first.
select q.id, q.document_id, d.name as document, d.epoch, q.actor_id, q.reason, q.sha256, q.size_bytes,
  q.content is not null as has_content, q.unkept, q.created_at, q.replayed_at
from quarantined_updates q left join documents d on d.id = q.document_id
where ($1::text is null or d.name = $1) and ($2::bigint is null or q.id < $2)
order by q.id desc
limit $3

-- name: read
-- One row with its content.
select q.id, q.document_id, d.name as document, d.epoch, q.actor_id, q.reason, q.sha256, q.size_bytes,
  q.content is not null as has_content, q.unkept, q.created_at, q.replayed_at, q.content
from quarantined_updates q left join documents d on d.id = q.document_id
where q.id = $1

-- name: mark_replayed
-- The document holds the content now: keep the trace only.
update quarantined_updates set replayed_at = now(), content = null where id = $1

-- name: drop
-- Forget one row.
delete from quarantined_updates where id = $1 returning id

-- name: sweep
-- Forget old rows, some at a time so that no sentence takes long.
with gone as (
  delete from quarantined_updates
  where id in (
    select id from quarantined_updates
    where created_at < now() - make_interval(secs => $1 * 86400)
    order by created_at limit 1000
  )
  returning id
)
select count(*) from gone

-- name: crashes
-- Who ended a process with which document, unless an operator has settled it; one kill from outside may be chance.
select document_id, actor_id, max(created_at) as created_at
from quarantined_updates
where reason in ('crash', 'killed') and replayed_at is null
group by document_id, actor_id
having bool_or(reason = 'crash') or count(*) > 1
order by max(id) desc
limit 1000
