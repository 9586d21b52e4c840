-- release.lua: ends a session; its unaccepted leases go back to the queue.
--
-- KEYS: for each call q:<host>
-- ARGV: calls (see every): host, 1, session
-- Returns for each: "ok"

local function one(c, h)
  local o = h.o
  if not o or o[O_ACTIVE] ~= 1 or o[O_EPOCH] ~= c[3] then return { 'ok' } end
  local flying = {}
  for m in pairs(inflight(h)) do flying[#flying + 1] = m:sub(-26) end
  for _, id in ipairs(flying) do
    local x = load(id, h)
    if x and x.f[STATE] == 'l' then end_lease(x) end
  end
  o[O_ACTIVE], o[O_SINCE], h.changed, h.touched = 0, now, true, true
  return { 'ok' }
end

return every(one)
