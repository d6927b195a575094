-- Logs when every host accepts clients: the ports are open before that, and answer "host-unknown".
module:set_global();
module:hook("server-started", function ()
	module:log("info", "Ready");
end);
