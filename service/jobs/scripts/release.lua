-- id, attempt -> ok | missing | fenced
local id, attempt = unpack(ARGV)
local refused = refusal(id, attempt)
if refused == "fenced" and get(id, "released_by") == attempt then
  return { "ok" }
end
if refused then
  return { refused }
end
set(id, "released_by", attempt)
return_to_queue(id)
return { "ok" }
