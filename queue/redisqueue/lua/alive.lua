-- alive.lua: a gateway lives, for a while. Those gone for a day are forgotten.
--
-- KEYS: 7 gw
-- ARGV: 2 gateway, 3 ttl in microseconds
-- Returns: 1

local all, gone = call('HGETALL', KEYS[7]), {}
for i = 1, #all, 2 do
  if all[i]:byte(1) ~= 0 and tonumber(all[i + 1]) < now - 86400000000 then push(gone, all[i], '\0' .. all[i]) end
end
call('HSET', KEYS[7], ARGV[2], text_of(now + ARGV[3]), '\0' .. ARGV[2], text_of(service_now() + ARGV[3]))
send('HDEL', KEYS[7], gone)
return 1
