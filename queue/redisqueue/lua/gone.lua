-- gone.lua: retention takes a job, or its output. A job is invisible from here on; what is
-- left of it is removed piece by piece.
--
-- KEYS: 1 all, 2 del, 3 outdel, 4 done, 5 outs, 6 time, 7 open, 8 driver, 9 idem, 10 sizes, 11 totals
-- ARGV: 1 clock offset, 2 job, 3 "record" or "output", 4 member of time
-- Returns: 1 if it was there

local id = ARGV[2]
local v = redis.call('HGET', KEYS[1], id)
if not v then
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZREM', KEYS[5], id)
  return 0
end
local size = redis.call('HGET', KEYS[10], id)
size = size and cmsgpack.unpack(size) or { 0, 0 }
local hadout = redis.call('ZREM', KEYS[5], id)
if hadout == 1 then redis.call('HINCRBY', KEYS[11], 'out', -size[1]) end
if ARGV[3] == 'output' then
  if hadout == 1 then redis.call('ZADD', KEYS[3], 0, id) end
  return hadout
end
local r, t = cmsgpack.unpack(v), redis.call('TIME')
redis.call('HSET', KEYS[2], id, cmsgpack.pack({ t[1] * 1000000 + t[2] + ARGV[1], r[3] }))
redis.call('HDEL', KEYS[1], id)
redis.call('ZREM', KEYS[3], id)
if redis.call('ZREM', KEYS[4], id) == 1 then redis.call('HINCRBY', KEYS[11], 'rec', -size[2]) end
redis.call('ZREM', KEYS[6], ARGV[4])
redis.call('ZREM', KEYS[7], id)
redis.call('HDEL', KEYS[8], id)
if r[7] ~= '' then redis.call('HDEL', KEYS[9], r[7]) end
redis.call('HDEL', KEYS[10], id)
return 1
