-- enroll.lua: registers a host with its key and raises its incarnation; ends
-- what is bound to the one before.
--
-- KEYS: 7 q:<host>, 8 hosts, 9 ver, 10 facts, 11 drain, 12 ses
-- ARGV: 2 host, 3 public key, 4 digest of the token, 5 "1" to replace, 6 labels (packed),
--       7 "check" to change nothing
-- Returns: "repeat" or "new", hints

local h = host(ARGV[2], KEYS[7])
local o, v = h.o, call('HGET', KEYS[8], ARGV[2])
local record, replace = v and unmsg(v), ARGV[5] == '1'
if record then
  if o[O_REVOKED] == 1 and not replace then return fail('forbidden', 'the host is revoked') end
  if record[2] == ARGV[3] and record[4] == ARGV[4] and o[O_REVOKED] == 0 then return { 'repeat', {} } end
  if record[2] ~= ARGV[3] and not replace then return fail('conflict', 'the host exists with another key') end
end
if ARGV[7] == 'check' then return { 'new', {} } end

if not o then
  o = { 0, 0, 0, 0, 0, 0, '', '', 0, 0, 0, 0, 0, {}, {} }
  h.o = o
end
if o[O_ACTIVE] == 1 then h.tell = o[O_GATEWAY] end
if o[O_GATEWAY] ~= '' then push(unreadies, o[O_GATEWAY] .. '\0' .. h.id) end
o[O_INC], o[O_REVOKED], o[O_DELETED], o[O_DUP] = o[O_INC] + 1, 0, 0, 0
o[O_ACTIVE], o[O_GATEWAY], o[O_TRANSPORT], o[O_DUE], o[O_SLOTS] = 0, '', '', 0, {}
h.changed = true
local _, on = void_all(h, '', DRAIN_MAX)
if on ~= '' then after('HSET', KEYS[11], h.id, on) end
after('HSET', KEYS[8], h.id, pack({ now, ARGV[3], unmsg(ARGV[6]), ARGV[4], o[O_INC], 0 }))
after('HSET', KEYS[9], 'ver', (call('HGET', KEYS[9], 'ver') or 0) + 1)
after('HDEL', KEYS[10], h.id)
after('HDEL', KEYS[12], h.id)
return { 'new', finish() }
