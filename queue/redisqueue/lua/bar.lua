-- bar.lua: revokes or deletes a host, or resolves its duplicate mark; each ends
-- its session.
--
-- KEYS: 11 q:<host>, 12 hosts, 13 ver, 14 facts, 15 drain
-- ARGV: 2 host, 3 "revoke", "delete" or "resolve"
-- Returns: hints

local h = host(ARGV[2], KEYS[11])
local o, how = h.o, ARGV[3]
if not o then return fail('not_found', 'no such host') end
if o[O_DELETED] == 1 then
  if how == 'delete' then return {} end
  return fail('not_found', 'no such host')
end
if how == 'resolve' then
  if o[O_DUP] == 0 then return {} end
  o[O_DUP], o[O_NONCE], o[O_PAST] = 0, '', {}
end
if o[O_ACTIVE] == 1 then h.tell, o[O_SINCE] = o[O_GATEWAY], now end
o[O_ACTIVE], h.changed, h.touched = 0, true, true
if how == 'resolve' then
  local flying = {}
  for m in pairs(inflight(h)) do flying[#flying + 1] = m:sub(-26) end
  for _, id in ipairs(flying) do
    local x = load(id, h)
    if x and x.f[STATE] == 'l' then end_lease(x) end
  end
  return finish()
end
local members = call('ZRANGEBYLEX', h.q, '-', '+', 'LIMIT', 0, DRAIN_MAX)
for _, m in ipairs(members) do
  local x = load(m:sub(-26), h)
  if x and ARROWS[x.f[STATE]] then void(x) else drop(h.q, 'zset', m) end
end
if #members == DRAIN_MAX then put(KEYS[15], 'hash', h.id, 1) end
if how == 'revoke' then
  o[O_REVOKED] = 1
  local v = call('HGET', KEYS[12], h.id)
  if v then
    local record = unmsg(v)
    record[6] = 1
    put(KEYS[12], 'hash', h.id, pack(record))
  end
else
  o[O_DELETED], o[O_GEN], o[O_NONCE], o[O_PAST] = 1, '', '', {}
  drop(KEYS[12], 'hash', h.id)
  drop(KEYS[14], 'hash', h.id)
end
put(KEYS[13], 'hash', 'ver', (call('HGET', KEYS[13], 'ver') or 0) + 1)
return finish()
