-- role_of: the role a subject ($1) holds on the document of this public name ($2); no row is no grant.
select role
  from document_grants
 where document = $2
   and subject = $1;
