-- One attempt at a greylisting key (RFC 6647), atomic, by the server's clock.
-- KEYS[1]  the key's state: "W<first attempt, ms>" while it waits, "L<first attempt, ms>" when it was only learnt,
--          "P" once it has passed
-- KEYS[2]  the client: "A" once it waits no more, else its passes as "<ms>:<sender> ..." (not touched when ARGV[5] is 0)
-- ARGV[1]  delay, ms
-- ARGV[2]  window, ms: a retry after it is a first attempt
-- ARGV[3]  retention, ms: how long a waiting key is remembered
-- ARGV[4]  pass lifetime, ms: how long a passed key and an allowed client are remembered, from their last use
-- ARGV[5]  passes of different senders after which a client waits no more (0: never)
-- ARGV[6]  auto window, ms: passes that are older do not count
-- ARGV[7]  the sender: letters, digits, - and _
-- ARGV[8]  ask; learn: a new key is only learnt; look: nothing is written
-- result   {seen, wait ms, waited ms}; seen is one of first, expired, early, passed, known, auto
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local delay, window, retention, lifetime = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local enough, auto, sender = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local writes = ARGV[8] ~= 'look'

-- at most once a day: the busiest keys would cost a write each time
local function prolong(key)
  if writes and lifetime - redis.call('PTTL', key) >= math.min(86400000, lifetime / 10) then
    redis.call('PEXPIRE', key, lifetime)
  end
end

local state = redis.call('GET', KEYS[1])
if state == 'P' then
  prolong(KEYS[1])
  return {'known', 0, 0}
end
local client = enough > 0 and redis.call('GET', KEYS[2]) or ''
if client == 'A' then
  prolong(KEYS[2])
  return {'auto', 0, 0}
end
local learnt = state and string.sub(state, 1, 1) == 'L'
local waited = state and math.max(0, now - tonumber(string.sub(state, 2))) or 0
local late = state and not learnt and waited > window
if not state or late then
  if writes then
    local kind = ARGV[8] == 'learn' and 'L' or 'W'
    redis.call('SET', KEYS[1], string.format('%s%.0f', kind, now), 'PX', retention)
  end
  return {late and 'expired' or 'first', delay, waited}
end
if waited < delay then
  return {'early', delay - waited, 0}
end
if writes then
  redis.call('SET', KEYS[1], 'P', 'PX', lifetime)
  if enough > 0 then
    local recent, number = '', 0
    for at, who in string.gmatch(client, '(%d+):([%w_-]+)') do
      if tonumber(at) > now - auto and who ~= sender then
        recent, number = recent .. at .. ':' .. who .. ' ', number + 1
      end
    end
    if number + 1 >= enough then
      redis.call('SET', KEYS[2], 'A', 'PX', lifetime)
    else
      redis.call('SET', KEYS[2], string.format('%s%.0f:%s', recent, now, sender), 'PX', auto)
    end
  end
end
-- who was learnt did not wait: it is known, and says nothing about real delays
return {learnt and 'known' or 'passed', 0, learnt and 0 or waited}
