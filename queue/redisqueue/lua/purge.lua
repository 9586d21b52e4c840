-- purge.lua: cancels the next of what waits in a host's queue, and each time what was leased meanwhile.
--
-- KEYS: 7 q:<host>
-- ARGV: 2 host, 3 "1" if what runs is to be asked for too, 4 why, 5 member of the queue to go on after, 6 how many
-- Returns: cancelled, asked, member to go on after ('' at the end), hints

local h = host(ARGV[2], KEYS[7])
if not h.o then return fail('not_found', 'no such host') end
local counts, n, m = { c = 0, a = 0 }, tonumber(ARGV[6]), ''
local function take(x)
  local how = cancel(x, ARGV[4])
  if how then counts[how] = counts[how] + 1 end
end
for _, id in ipairs(flying(h)) do
  local x = load(id, h)
  if x and (x.f[STATE] == 'l' or ARGV[3] == '1') then take(x) end
end
local list, keys = call('ZRANGEBYLEX', h.q, ARGV[5] == '' and '-' or '(' .. ARGV[5], '+', 'LIMIT', 0, n), {}
for i = 1, #list do keys[i] = h.id .. '/' .. list[i]:sub(-26) end
if #keys > 0 then read_ahead(keys) end
for i = 1, #list do
  m = list[i]
  local x = load(m:sub(-26), h)
  if x and x.f[STATE] == 'q' then take(x) else alter(h, 'del', m) end
end
return { counts.c, counts.a, #list == n and m or '', finish() }
