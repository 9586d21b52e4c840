-- drain.lua: goes on ending what a re-enrolled, revoked or deleted host had,
-- where it was too much for one script.
--
-- KEYS: 11 q:<host>, 12 drain
-- ARGV: 2 host, 3 how many at most
-- Returns: ended, hints

local h = host(ARGV[2], KEYS[11])
local o, n, limit = h.o, 0, tonumber(ARGV[3])
local members, from = {}, '-'
local page = call('ZRANGEBYLEX', h.q, from, '+', 'LIMIT', 0, limit)
for _, m in ipairs(page) do
  local x = load(m:sub(-26), h)
  if not (x and ARROWS[x.f[STATE]]) then
    drop(h.q, 'zset', m)
  elseif not o or o[O_DELETED] == 1 or o[O_REVOKED] == 1 or x.f[INC] ~= o[O_INC] then
    void(x)
    n = n + 1
  end
end
if #page < limit or n == 0 then drop(KEYS[12], 'hash', h.id) end
h.touched = true
return { n, finish() }
