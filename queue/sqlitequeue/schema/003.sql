-- rexgate's embedded store, schema 3: processes of a host that were superseded are
-- kept with when that was, as [{"nonce": ..., "at": milliseconds since 1970}, ...].

UPDATE session SET superseded = NULL;
