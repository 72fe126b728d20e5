-- One attempt at a greylisting key (RFC 6647), atomic, by the server's clock.
-- KEYS[1]  the key's state: "W<first attempt, ms>" while it waits, "P" once it has passed
-- KEYS[2]  the client's number of passes (not touched when ARGV[5] is 0)
-- ARGV[1]  delay, ms
-- ARGV[2]  window, ms: how long a waiting key is remembered
-- ARGV[3]  pass lifetime, ms: how long a passed key and a client's passes are remembered, from their last use
-- ARGV[4]  passes after which a client waits no more (0: never)
-- ARGV[5]  1 if the client counts, else 0
-- result   {seen, wait ms, waited ms}; seen is one of first, early, passed, known, auto
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local delay, window, lifetime = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local enough, counts = tonumber(ARGV[4]), ARGV[5] == '1'

local state = redis.call('GET', KEYS[1])
if state == 'P' then
  redis.call('PEXPIRE', KEYS[1], lifetime)
  return {'known', 0, 0}
end
if counts and enough > 0 and tonumber(redis.call('GET', KEYS[2]) or '0') >= enough then
  redis.call('PEXPIRE', KEYS[2], lifetime)
  return {'auto', 0, 0}
end
if not state then
  redis.call('SET', KEYS[1], string.format('W%.0f', now), 'PX', window)
  return {'first', delay, 0}
end
local waited = math.max(0, now - tonumber(string.sub(state, 2)))
if waited < delay then
  return {'early', delay - waited, 0}
end
redis.call('SET', KEYS[1], 'P', 'PX', lifetime)
if counts then
  redis.call('INCR', KEYS[2])
  redis.call('PEXPIRE', KEYS[2], lifetime)
end
return {'passed', 0, waited}
