-- name: page
-- The next documents with at least so many generations: only they have anything that may be dropped.
select document_id
from checkpoints
where document_id > $1
group by document_id
having count(*) >= $2
order by document_id
limit $3

-- name: forget
-- Remove all but the newest generations of each epoch of these documents and return what was removed; what another task is removing stays.
delete from checkpoints
where id in (
  select checkpoints.id
  from checkpoints
  join (
    select document_id, epoch, (array_agg(generation order by generation desc))[$2] as oldest
    from checkpoints
    where document_id = any($1::uuid[])
    group by document_id, epoch
  ) kept on kept.document_id = checkpoints.document_id and kept.epoch = checkpoints.epoch
    and checkpoints.generation < kept.oldest
  order by checkpoints.id
  for update of checkpoints skip locked
)
returning document_id, generation, key, sha256, size_bytes, state_vector, epoch

-- name: drop_rows
-- Remove rows made before the given time that all of the newest generations hold, oldest first, so many at most.
with held as (
  select document_id, (array_agg(generation order by generation desc))[$2] as oldest
  from checkpoints
  where document_id = any($1::uuid[])
  group by document_id
  having count(*) >= $2
),
-- Locked first, in the order in which a deletion of the document locks: document, then rows. Else they could deadlock.
present as (
  select documents.id, held.oldest
  from documents
  join held on held.document_id = documents.id
  where exists (
    select from document_updates
    where document_id = documents.id and folded_into <= held.oldest and created_at < $3
  )
  order by documents.id
  for key share of documents skip locked
),
doomed as materialized (
  select old.id
  from present
  cross join lateral (
    select id
    from document_updates
    where document_id = present.id and folded_into <= present.oldest and created_at < $3
    order by created_at
    limit $4
    for update skip locked
  ) old
  limit $4
)
delete from document_updates using doomed where document_updates.id = doomed.id

-- name: oldest_row
-- When the oldest folded row of these documents was made.
select min(oldest.created_at)
from unnest($1::uuid[]) as wanted (document_id)
cross join lateral (
  select created_at
  from document_updates
  where document_id = wanted.document_id and folded_into is not null
  order by created_at
  limit 1
) oldest

-- name: named
-- The generations of all documents in a range of ids, with or without any; oldest first.
select documents.id as document_id, checkpoints.generation, checkpoints.key
from documents
left join checkpoints on checkpoints.document_id = documents.id
where documents.id between $1 and $2
order by documents.id, checkpoints.generation
