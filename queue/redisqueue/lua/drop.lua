-- drop.lua: removes a job's spec and script, unless a later attempt to submit it
-- has written them.
--
-- KEYS: 1 job:<job>
-- ARGV: 1 attempt
-- Returns: 1 if removed

local attempt = call('HGET', KEYS[1], 'attempt')
if not attempt or tonumber(attempt) > tonumber(ARGV[1]) then return 0 end
return call('UNLINK', KEYS[1])
