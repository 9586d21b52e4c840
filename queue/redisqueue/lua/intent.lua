-- intent.lua: the intent to cancel a whole job.
--
-- KEYS: 1 all, 2 open
-- ARGV: 1 clock offset, 2 job, 3 why
-- Returns: commit record, or false if there is no such job

local v = call('HGET', KEYS[1], ARGV[2])
if not v then return false end
local r = unmsg(v)
if r[4] ~= 'c' then
  local t = call('TIME')
  r[4], r[5], r[6] = 'c', ARGV[3], t[1] * 1000000 + t[2] + ARGV[1]
  v = pack(r)
  call('HSET', KEYS[1], ARGV[2], v)
end
call('ZADD', KEYS[2], r[2], ARGV[2])
return v
