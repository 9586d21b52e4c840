-- check.lua: which targets aren't enrolled hosts at their incarnation.
-- flags=no-writes
--
-- KEYS: 1 own
-- ARGV: host, incarnation of each
-- Returns: the hosts that aren't

local names, bad = {}, {}
for i = 1, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local own = redis.call('HMGET', KEYS[1], unpack(names))
for i = 1, #names do
  local o = own[i] and cmsgpack.unpack(own[i])
  if not o or o[1] ~= tonumber(ARGV[2 * i]) or o[2] == 1 or o[3] == 1 then bad[#bad + 1] = names[i] end
end
return bad
