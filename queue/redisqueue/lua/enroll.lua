-- enroll.lua: registers a host with its key and raises its incarnation; ends
-- what is bound to the one before.
--
-- KEYS: 11 q:<host>, 12 hosts, 13 ver, 14 facts, 15 drain
-- ARGV: 2 host, 3 public key, 4 digest of the token, 5 "1" to replace, 6 labels (packed),
--       7 "check" to change nothing
-- Returns: "repeat" or "new", hints

local h = host(ARGV[2], KEYS[11])
local o, v = h.o, call('HGET', KEYS[12], ARGV[2])
local record, replace = v and unmsg(v), ARGV[5] == '1'
if record then
  if o[O_REVOKED] == 1 and not replace then return fail('forbidden', 'the host is revoked') end
  if record[2] == ARGV[3] and record[4] == ARGV[4] and o[O_REVOKED] == 0 then return { 'repeat', {} } end
  if record[2] ~= ARGV[3] and not replace then return fail('conflict', 'the host exists with another key') end
end
if ARGV[7] == 'check' then return { 'new', {} } end

if not o then
  o = { 0, 0, 0, 0, 0, 0, '', '', 0, 0, 0, 0, 0, 0, '', '', '', '', {}, {} }
  h.o = o
end
if o[O_ACTIVE] == 1 then h.tell = o[O_GATEWAY] end
if o[O_GATEWAY] ~= '' then drop(K_READY, 'zset', o[O_GATEWAY] .. '\0' .. h.id) end
o[O_INC], o[O_REVOKED], o[O_DELETED], o[O_DUP] = o[O_INC] + 1, 0, 0, 0
o[O_ACTIVE], o[O_GATEWAY], o[O_TRANSPORT], o[O_SINCE], o[O_DUE] = 0, '', '', 0, 0
o[O_GEN], o[O_NONCE], o[O_BOOT], o[O_AGENT], o[O_SLOTS], o[O_PAST] = '', '', '', '', {}, {}
h.changed = true
local members = call('ZRANGEBYLEX', h.q, '-', '+', 'LIMIT', 0, DRAIN_MAX)
for _, m in ipairs(members) do
  local x = load(m:sub(-26), h)
  if x and ARROWS[x.f[STATE]] then void(x) else drop(h.q, 'zset', m) end
end
if #members == DRAIN_MAX then put(KEYS[15], 'hash', h.id, 1) end
put(KEYS[12], 'hash', h.id, pack({ now, ARGV[3], unmsg(ARGV[6]), ARGV[4], o[O_INC], 0 }))
put(KEYS[13], 'hash', 'ver', (call('HGET', KEYS[13], 'ver') or 0) + 1)
drop(KEYS[14], 'hash', h.id)
return { 'new', finish() }
