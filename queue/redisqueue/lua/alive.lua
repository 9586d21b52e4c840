-- alive.lua: a gateway lives, for a while. Those gone for a day are forgotten.
--
-- KEYS: 1 gw
-- ARGV: 1 clock offset, 2 gateway, 3 ttl in microseconds
-- Returns: 1

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1]
local all, gone = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) < now - 86400000000 then gone[#gone + 1] = all[i] end
end
redis.call('HSET', KEYS[1], ARGV[2], now + ARGV[3])
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
return 1
