-- name: append
-- Insert one batch of updates; client ids come as text such as {1,2}, because arrays in arrays cannot be ragged.
insert into document_updates (document_id, update, actor_id, client_ids, reach)
select document_id, update, actor_id, client_ids::bigint[], reach
from unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::bytea[])
  as batch (document_id, update, actor_id, client_ids, reach)

-- name: unfolded
-- Every update of a document that no checkpoint holds.
select id, update, reach
from document_updates
where document_id = $1 and folded_into is null
order by id

-- name: quarantine
-- Note an update that was set aside, without its content.
insert into quarantined_updates (document_id, actor_id, reason, sha256, size_bytes)
values ($1, $2, $3, $4, $5)

-- name: ping
-- Does the journal's table answer, and may it be written to?
select current_setting('transaction_read_only') = 'off'
from (select exists (select from document_updates where id = 0)) as answer
