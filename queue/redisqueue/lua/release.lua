-- release.lua: ends a session; its unaccepted leases go back to the queue.
--
-- KEYS: 11 q:<host>
-- ARGV: 2 host, 3 session
-- Returns: 1 if it was the owner, else 0

local h = host(ARGV[2], KEYS[11])
local o = h.o
if not o or o[O_ACTIVE] ~= 1 or o[O_EPOCH] ~= tonumber(ARGV[3]) then return 0 end
local flying = {}
for m in pairs(inflight(h)) do flying[#flying + 1] = m:sub(-26) end
for _, id in ipairs(flying) do
  local x = load(id, h)
  if x and x.f[STATE] == 'l' then end_lease(x) end
end
o[O_ACTIVE], o[O_SINCE], h.changed, h.touched = 0, now, true, true
finish()
return 1
