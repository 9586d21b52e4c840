-- erase.lua: removes the next executions of a job, or their output, in a
-- partition; with the last ones, the partition's traces of the job.
--
-- KEYS: 1 js, 2 jb, 3 x, 4 jt:<job>, 5.. o:<host>/<job> of each host given
-- ARGV: 1 job, 2 attempt: of a later one nothing is removed, 3 "record" or "output",
--       4 cursor that the caller knows, 5.. host
-- Returns: cursor after, -1 when the partition is done

local js, id, mode = KEYS[1], ARGV[1], ARGV[3]
local fixed = redis.call('HGET', js, 's' .. id)
if not fixed then return -1 end
fixed = cmsgpack.unpack(fixed)
if fixed[1] > tonumber(ARGV[2]) then return -1 end
local name = (mode == 'record' and 'e' or 'd') .. id
local cursor = tonumber(redis.call('HGET', js, name) or 0)
if cursor ~= tonumber(ARGV[4]) then return cursor end
local n, fields = #ARGV - 4, {}
for i = 1, n do fields[i] = ARGV[4 + i] .. '/' .. id end
if n > 0 and mode == 'output' then
  local set = {}
  for i, v in ipairs(redis.call('HMGET', KEYS[3], unpack(fields))) do
    if v then
      local f = cmsgpack.unpack(v)
      f[30], f[31], f[32] = 1, '', 0 -- deleted, inline, segments
      set[#set + 1] = fields[i]
      set[#set + 1] = cmsgpack.pack(f)
    end
  end
  if #set > 0 then redis.call('HSET', KEYS[3], unpack(set)) end
end
local last = cursor + n >= fixed[8]
if not last then redis.call('HSET', js, name, cursor + n) end
for i = 1, n do redis.call('UNLINK', KEYS[4 + i]) end
if n > 0 and mode == 'record' then redis.call('HDEL', KEYS[3], unpack(fields)) end
if not last then return cursor + n end
if mode == 'record' then
  local shards = {}
  for at = 0, fixed[8] - 1, SHARD do shards[#shards + 1] = id .. ':' .. at / SHARD end
  redis.call('HDEL', KEYS[2], unpack(shards))
  redis.call('UNLINK', KEYS[4])
  redis.call('HDEL', js, 's' .. id, 'c' .. id, 'd' .. id, 'e' .. id)
else
  redis.call('HDEL', js, name)
end
return -1
