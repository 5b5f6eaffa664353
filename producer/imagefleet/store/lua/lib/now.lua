-- `now`: seconds since 1970 by the clock of Redis, the only clock that all workers and clients share.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
