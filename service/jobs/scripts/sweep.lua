-- ms to remember that a job has expired, most jobs at one time -> ok, id...
local remember, most = unpack(ARGV)
local expired = redis.call("ZRANGEBYSCORE", key("expiries"), "-inf", now, "LIMIT", 0, most)
for _, id in ipairs(expired) do
  forget_job(id)
  redis.call("SET", key("expired", id), "1", "PX", remember)
end
return { "ok", unpack(expired) }
