-- erase.lua: removes the next executions of a job, or their output, in a
-- partition; with the last ones, the partition's traces of the job.
--
-- KEYS: 1 d, 2 jt:<job>, 3.. o:<host>/<job> of each host given
-- ARGV: 1 job, 2 attempt: of a later one nothing is removed, 3 "record" or "output",
--       4 cursor that the caller knows, 5.. host
-- Returns: cursor after, -1 when the partition is done

local d, id, mode = KEYS[1], ARGV[1], ARGV[3]
local fixed = call('HGET', d, 's' .. id)
if not fixed then return -1 end
fixed = { unmsg(fixed) }
if fixed[S_ATTEMPT] > tonumber(ARGV[2]) then return -1 end
local name = (mode == 'record' and 'e' or 'd') .. id
local cursor = tonumber(call('HGET', d, name) or 0)
if cursor ~= tonumber(ARGV[4]) then return cursor end
local n, fields = #ARGV - 4, {}
for i = 1, n do fields[i] = ARGV[4 + i] .. '/' .. id end
if n > 0 and mode == 'output' then
  local set = {}
  for i, v in ipairs(call('HMGET', d, unpack(fields))) do
    if v then
      local f = record_of(v)
      f[DELETED], f[INLINE], f[SEGS] = 1, '', 0
      push(set, fields[i], packed(f))
    end
  end
  send('HSET', d, set)
end
if mode == 'record' and (fixed[S_SCOPE] or '') ~= '' and n > 0 then
  local scopes, stamp, own = {}, struct.pack('>I8', fixed[S_CREATED]) .. id, {}
  for i = 1, n do scopes[i] = ARGV[4 + i] .. '/' .. fixed[S_SCOPE] end
  for i, newest in ipairs(call('HMGET', d, unpack(scopes))) do
    if newest == stamp then push(own, scopes[i]) end
  end
  for i = 1, #own do push(fields, own[i]) end
end
local last = cursor + n >= fixed[S_COUNT]
if not last then call('HSET', d, name, cursor + n) end
for i = 1, n do call('UNLINK', KEYS[2 + i]) end
if mode == 'record' then send('HDEL', d, fields) end
if not last then return cursor + n end
if mode == 'record' then
  local gone = { 's' .. id, 'c' .. id, 'd' .. id, 'e' .. id }
  for at = 0, fixed[S_COUNT] - 1, SHARD do push(gone, id .. ':' .. at / SHARD) end
  call('UNLINK', KEYS[2])
  send('HDEL', d, gone)
else
  call('HDEL', d, name)
end
return -1
