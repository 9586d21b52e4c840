-- reopen.lua: a job has something to expand again; so it hasn't ended.
--
-- KEYS: 1 all, 2 open, 3 live, 4 done, 5 outs, 6 sizes, 7 totals
-- ARGV: 1 job
-- Returns: 1 if that is news; 0; -1 if there is no such job

local id = ARGV[1]
local v = call('HGET', KEYS[1], id)
if not v then return -1 end
if call('ZREM', KEYS[4], id) == 1 then
  local size = call('HGET', KEYS[6], id)
  size = size and unmsg(size) or { 0, 0 }
  call('HINCRBY', KEYS[7], 'rec', -size[2])
  if call('ZREM', KEYS[5], id) == 1 then call('HINCRBY', KEYS[7], 'out', -size[1]) end
  call('HDEL', KEYS[6], id)
  call('ZADD', KEYS[3], 0, id)
end
return call('ZADD', KEYS[2], 'NX', unmsg(v)[2], id)
