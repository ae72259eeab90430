-- id -> ok | missing
local id = unpack(ARGV)
local status = get(id, "status")
if not status then
  return { "missing" }
end
if status == "paused" then
  set(id, "entry", redis.call("XADD", key("queue"), "*", "job", id))
  set_status(id, "queued")
end
return { "ok" }
