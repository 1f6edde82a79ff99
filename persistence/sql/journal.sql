-- name: append
-- Insert one batch of updates, which comes as one JSON array with updates and reaches in hexadecimal.
insert into document_updates (document_id, update, actor_id, client_ids, reach, epoch)
select document_id, decode(update, 'hex'), actor_id, client_ids, decode(reach, 'hex'), epoch
from json_to_recordset($1::json)
  as batch (document_id uuid, update text, actor_id text, client_ids bigint[], reach text, epoch integer)

-- name: append_and_lease
-- The same for a batch that brings new client ids: each is leased to the actor who brought it first.
with batch as materialized (
  select * from json_to_recordset($1::json) as batch (
    document_id uuid, update text, actor_id text, client_ids bigint[], reach text, epoch integer, new_client_ids bigint[]
  )
), leased as (
  insert into client_leases (document_id, client_id, subject)
  select document_id, unnest(new_client_ids), actor_id from batch
  on conflict do nothing
)
insert into document_updates (document_id, update, actor_id, client_ids, reach, epoch)
select document_id, decode(update, 'hex'), actor_id, client_ids, decode(reach, 'hex'), epoch from batch

-- name: unfolded
-- Every update of a document that no checkpoint holds.
select id, update, reach
from document_updates
where document_id = $1 and folded_into is null
order by id

-- name: quarantine
-- Keep an update that was refused: too much of an actor's content leaves its digest, too many rows only a count.
with here as (
  select count(*) filter (where actor_id = $2) as of_actor, count(*) as of_all
  from quarantined_updates where document_id = $1 and reason not in ('crash', 'killed')
), held as (
  select coalesce(sum(octet_length(content)), 0) as bytes from quarantined_updates where actor_id = $2
), fits as (
  -- A row that bars its actor is always kept: it cost a process.
  select $3 in ('crash', 'killed') or (of_actor < $7 and of_all < $8) as yes from here
), counted as (
  update quarantined_updates set unkept = unkept + 1
  where not (select yes from fits) and id = (
    select id from quarantined_updates where document_id = $1 order by actor_id = $2 desc, id desc limit 1
  )
)
insert into quarantined_updates (document_id, actor_id, reason, sha256, size_bytes, content)
select $1, $2, $3, $4, $5, case when held.bytes + octet_length($6::bytea) <= $9 then $6::bytea end
from fits, held where fits.yes

-- name: ping
-- Does the journal's table answer, and may it be written to?
select current_setting('transaction_read_only') = 'off'
from (select exists (select from document_updates where id = 0)) as answer
