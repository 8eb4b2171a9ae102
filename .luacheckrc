std = "lua54c"
codes = true
max_line_length = 150
ignore = {
	"411/err", "421/err", "431/err",
	"411/ok", "421/ok",
	"431/log",
	"581",
}
exclude_files = { "target" }

files["prosody-glue/"] = {
	read_globals = {
		prosody = { other_fields = true },
		module = {
			fields = {
				"host", "name", "global", "items", "path",
				"add_feature", "add_item", "add_timer", "context", "depends", "fire_event", "get_directory", "get_host_type",
				"get_option", "get_option_boolean", "get_option_number", "get_option_path", "get_option_period", "get_option_string", "hook",
				"hook_global", "hook_tag", "http_url", "log", "metric", "open_store", "provides", "remove_item", "require", "send",
				"set_global", "set_status", "shared",
				add_host = { read_only = false },
				command = { read_only = false },
				load = { read_only = false },
				unload = { read_only = false },
			},
		},
	},
}

files["benches/"] = {
	read_globals = { module = { fields = { "get_option_string", "hook_global", "host" } } },
}

files["tests/glue/"] = {
	std = "lua54c+busted",
}
