-- alive.lua: a gateway lives, for a while. Those gone for a day are forgotten.
--
-- KEYS: 1 gw
-- ARGV: 1 clock offset, 2 gateway, 3 ttl in microseconds
-- Returns: 1

local t = call('TIME')
local at = t[1] * 1000000 + t[2] + ARGV[1]
local all, gone = call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) < at - 86400000000 then gone[#gone + 1] = all[i] end
end
call('HSET', KEYS[1], ARGV[2], at + ARGV[3])
send('HDEL', KEYS[1], gone)
return 1
