-- All entries of a place that are not gone; those that are gone are removed.
-- KEYS[1]  a hash: entry -> "<until, ms; 0 never>:<value>"
-- result   entry, value, entry, value ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, result = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ends, value = string.match(all[i + 1], '^(%d+):(.*)$')
  if tonumber(ends) > 0 and tonumber(ends) <= now then
    redis.call('HDEL', KEYS[1], all[i])
  else
    result[#result + 1] = all[i]
    result[#result + 1] = value
  end
end
return result
