-- id, attempt, lease in ms -> ok | missing | fenced
local id, attempt, lease = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
if get(id, "status") == "running" and get(id, "attempt_started_at") then
  set(id, "searching_at", now)
end
redis.call("ZADD", key("leases"), now + tonumber(lease), id)
return { "ok" }
