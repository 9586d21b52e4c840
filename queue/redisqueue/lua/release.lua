-- release.lua: ends a session; its unaccepted leases go back to the queue.
--
-- KEYS: for each call q:<host>, ses
-- ARGV: calls (see every): host, 2, session
-- Returns for each: "ok"

local function one(c, h, at)
  local o = h.o
  if not o or o[O_ACTIVE] ~= 1 or o[O_EPOCH] ~= c[3] then return { 'ok' } end
  unlease(h)
  o[O_ACTIVE], h.changed, h.recheck = 0, true, true
  since(h, KEYS[at + 1])
  return { 'ok' }
end

return one
