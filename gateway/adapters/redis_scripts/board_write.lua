-- Put an entry of a place, or take it away, maybe only if it has a certain value; by the server's clock.
-- KEYS[1]  a hash: entry -> "<until, ms; 0 never>:<value>"
-- ARGV[1]  entry
-- ARGV[2]  1: put, 0: take away
-- ARGV[3]  value
-- ARGV[4]  ttl, ms; 0: it stays
-- ARGV[5]  any: whatever the value is, none: only if there is none, is: only if it is ARGV[6]
-- result   1 done, 0 the value was another one
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[5] ~= 'any' then
  local ends, value = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+):(.*)$')
  if ends and tonumber(ends) > 0 and tonumber(ends) <= now then
    value = nil
  end
  if ARGV[5] == 'none' and value or ARGV[5] == 'is' and value ~= ARGV[6] then
    return 0
  end
end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 1
end
local ttl = tonumber(ARGV[4])
local before = redis.call('PTTL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', ttl > 0 and now + ttl or 0, ARGV[3]))
if ttl == 0 then
  redis.call('PERSIST', KEYS[1])
elseif before == -2 or before >= 0 and before < ttl then
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return 1
