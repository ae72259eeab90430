-- kind, digest, ms that the deletion of this artifact may take, 0 once it is over, then the statuses of unended jobs
-- -> ok | in_use
local kind, digest, left = unpack(ARGV)
local field = kind == "sets" and "sets" or "pantry"
for position = 4, #ARGV do
  for _, id in ipairs(redis.call("ZRANGE", key("status", ARGV[position]), 0, -1)) do
    if string.find("," .. get(id, field) .. ",", "," .. digest .. ",", 1, true) then
      return { "in_use" }
    end
  end
end

-- The latest time at which the artifact may have gone: `submit` refuses jobs whose artifacts were looked up before.
local REMEMBERED = 86400000
redis.call("ZREMRANGEBYSCORE", key("deletions"), "-inf", now - REMEMBERED)
redis.call("ZADD", key("deletions"), now + tonumber(left), kind .. ":" .. digest)
return { "ok" }
