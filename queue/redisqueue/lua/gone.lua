-- gone.lua: retention takes a job, or its output. A job is invisible from here on; what is
-- left of it is removed piece by piece.
--
-- KEYS: 1 all, 2 del, 3 outdel, 4 done, 5 outs, 6 time, 7 open, 8 driver, 9 idem, 10 sizes, 11 totals
-- ARGV: 1 clock offset, 2 job, 3 "record" or "output", 4 member of time
-- Returns: 1 if it was there

local id = ARGV[2]
local v = call('HGET', KEYS[1], id)
if not v then
  call('ZREM', KEYS[4], id)
  call('ZREM', KEYS[5], id)
  return 0
end
local size = call('HGET', KEYS[10], id)
size = size and unmsg(size) or { 0, 0 }
local hadout = call('ZREM', KEYS[5], id)
if hadout == 1 then call('HINCRBY', KEYS[11], 'out', -size[1]) end
if ARGV[3] == 'output' then
  if hadout == 1 then call('ZADD', KEYS[3], 0, id) end
  return hadout
end
local r, t = unmsg(v), call('TIME')
call('HSET', KEYS[2], id, pack({ t[1] * 1000000 + t[2] + ARGV[1], r[3] }))
call('HDEL', KEYS[1], id)
call('ZREM', KEYS[3], id)
if call('ZREM', KEYS[4], id) == 1 then call('HINCRBY', KEYS[11], 'rec', -size[2]) end
call('ZREM', KEYS[6], ARGV[4])
call('ZREM', KEYS[7], id)
call('HDEL', KEYS[8], id)
if r[7] ~= '' then call('HDEL', KEYS[9], r[7]) end
call('HDEL', KEYS[10], id)
return 1
