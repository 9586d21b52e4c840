-- rebuild.lua: writes a partition's part of a job again that a failover has lost, by
-- the job's copy of the targets. Records that are there count; the other targets are planned.
--
-- KEYS: 1 d, 2 jt:<job>
-- ARGV: 1 job, 2 fixed part, 3 moving part, 4 targets, 5.. host of each, in order
-- Returns: how many of the targets have a record; -1 if the part is there

if call('HEXISTS', KEYS[1], 's' .. ARGV[1]) == 1 and call('HEXISTS', KEYS[1], 'c' .. ARGV[1]) == 1 then return -1 end
local n, have, states, args, c = #ARGV - 4, 0, {}, {}, { unmsg(ARGV[3]) }
for from = 1, n, 1000 do
  local fields = {}
  for i = from, math.min(from + 999, n) do fields[#fields + 1] = ARGV[4 + i] .. '/' .. ARGV[1] end
  for i, v in ipairs(call('HMGET', KEYS[1], unpack(fields))) do
    local f = v and record_of(v)
    local state = f and f[STATE] or 'p'
    states[#states + 1] = state
    c[C_COUNTS][INDEX[state]] = c[C_COUNTS][INDEX[state]] + 1
    if f then
      have = have + 1
      c[C_OUT], c[C_REC] = c[C_OUT] + f[OUT] + f[ERR], c[C_REC] + #v + #fields[i] - 1
      c[C_LAST] = math.max(c[C_LAST], f[FINISHED])
    end
  end
end
for from = 0, n - 1, SHARD do
  push(args, ARGV[1] .. ':' .. from / SHARD, table.concat(states, '', from + 1, math.min(from + SHARD, n)))
end
push(args, 's' .. ARGV[1], ARGV[2])
push(args, 'c' .. ARGV[1], packed(c))
send('HSET', KEYS[1], args)
call('SET', KEYS[2], ARGV[4])
return have
