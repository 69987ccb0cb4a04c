-- wrk: connections that are opened and then say nothing for an hour.
function delay() return 3600 * 1000 end
