-- bar.lua: revokes or deletes a host, or resolves its duplicate mark; each ends
-- its session.
--
-- KEYS: 7 q:<host>, 8 hosts, 9 ver, 10 facts, 11 drain, 12 ses
-- ARGV: 2 host, 3 "revoke", "delete" or "resolve"
-- Returns: hints

local h = host(ARGV[2], KEYS[7])
local o, how = h.o, ARGV[3]
if not o then return fail('not_found', 'no such host') end
if o[O_DELETED] == 1 then
  if how == 'delete' then return {} end
  return fail('not_found', 'no such host')
end
local e = session_of(h, KEYS[12])
if how == 'resolve' then
  if o[O_DUP] == 0 then return {} end
  o[O_DUP], e[E_NONCE], e[E_PAST] = 0, '', {}
elseif how == 'delete' then
  e[E_GEN], e[E_NONCE], e[E_PAST] = '', '', {}
end
if o[O_ACTIVE] == 1 then h.tell, e[E_SINCE] = o[O_GATEWAY], now end
o[O_ACTIVE], h.changed, h.recheck = 0, true, true
after('HSET', KEYS[12], h.id, packed(e))
if how == 'resolve' then
  unlease(h)
  return finish()
end
if how == 'revoke' then
  o[O_REVOKED] = 1
  local v = call('HGET', KEYS[8], h.id)
  if v then
    local record = unmsg(v)
    record[6] = 1
    after('HSET', KEYS[8], h.id, pack(record))
  end
else
  o[O_DELETED] = 1
  after('HDEL', KEYS[8], h.id)
  after('HDEL', KEYS[10], h.id)
end
local _, on = void_all(h, '', DRAIN_MAX)
if on ~= '' then after('HSET', KEYS[11], h.id, on) end
after('HSET', KEYS[9], 'ver', (call('HGET', KEYS[9], 'ver') or 0) + 1)
return finish()
