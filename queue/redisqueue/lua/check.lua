-- check.lua: which targets aren't enrolled hosts at their incarnation.
-- flags=no-writes
--
-- KEYS: 1 own
-- ARGV: host, incarnation of each
-- Returns: the hosts that aren't

local names, bad = {}, {}
for i = 1, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local own = call('HMGET', KEYS[1], unpack(names))
for i = 1, #names do
  local inc, revoked, deleted
  if own[i] then inc, revoked, deleted = unmsg(own[i]) end
  if inc ~= tonumber(ARGV[2 * i]) or revoked == 1 or deleted == 1 then bad[#bad + 1] = names[i] end
end
return bad
