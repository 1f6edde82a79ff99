-- standings: the role of each subject ($1) on the document of the same place ($2), and before when its tokens are void.
select wanted.subject, wanted.document, g.role, extract(epoch from r.revoked_before)::float8 as revoked_before
  from unnest($1::text[], $2::text[]) as wanted (subject, document)
  left join document_grants g on g.document = wanted.document and g.subject = wanted.subject
  left join token_revocations r on r.subject = wanted.subject;

-- grant: give the subject ($1) this role ($3) on the document ($2), in place of any other; the role before.
with before as (select role from document_grants where subject = $1 and document = $2)
insert into document_grants (subject, document, role) values ($1, $2, $3)
on conflict (document, subject) do update set role = excluded.role
returning (select role from before);

-- withdraw: take the grant of the subject ($1) on the document ($2) away; the role it was.
delete from document_grants where subject = $1 and document = $2
returning role;

-- revoke: void the tokens of the subject ($1) issued before this time ($2, unix seconds); it never moves back.
insert into token_revocations (subject, revoked_before) values ($1, to_timestamp($2))
on conflict (subject) do update
  set revoked_before = greatest(token_revocations.revoked_before, excluded.revoked_before);
