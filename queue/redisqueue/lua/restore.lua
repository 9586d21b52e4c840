-- restore.lua: writes a partition's targets of a job anew, all planned, where a failover has lost them; of a job of
-- which it has lost the release, bounds until when they may be delivered.
--
-- KEYS: 1 d, 2 jt:<job>
-- ARGV: 1 job, 2 fixed part, 3 moving part, 4 targets; or "", "", "" to write nothing anew, 5 how many, 6 the bound, or "" to
--       leave what is there
-- Returns: "lost" if it was missing; "bound" if the bound was set; "there"

local d, id, n = KEYS[1], ARGV[1], tonumber(ARGV[5])
local have = call('HMGET', d, 's' .. id, 'c' .. id)
local there = call('EXISTS', KEYS[2])
if ARGV[4] == '' and (not have[1] or not have[2]) then return 'lost' end
if have[1] and have[2] then
  local c, answer = { unmsg(have[2]) }, 'there'
  if ARGV[6] ~= '' and c[C_CURSOR] < n and not c[C_LIMIT] then
    c[C_LIMIT], answer = tonumber(ARGV[6]), 'bound'
    call('HSET', d, 'c' .. id, packed(c))
  end
  if there == 0 and ARGV[4] ~= '' then
    answer = 'lost'
    call('SET', KEYS[2], ARGV[4])
  end
  return answer
end
local args = {}
for from = 0, n - 1, SHARD do push(args, id .. ':' .. from / SHARD, string.rep('p', math.min(SHARD, n - from))) end
push(args, 's' .. id, ARGV[2])
push(args, 'c' .. id, ARGV[3])
send('HSET', d, args)
call('SET', KEYS[2], ARGV[4])
return 'lost'
